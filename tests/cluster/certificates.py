"""Certificates of a test's cluster, made by openssl."""

import ssl
import subprocess
from pathlib import Path

_NAMES = "DNS:localhost,DNS:kubernetes,DNS:kubernetes.default,DNS:kubernetes.default.svc,IP:127.0.0.1,IP:10.96.0.1"


class Authority:
    """A certificate authority in a folder, with what it has issued."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        self._openssl("req", "-x509", *self._new_key("ca"), "-out", "ca.crt", "-days", "30", "-subj", "/CN=tests")

    def issue(self, name: str, subject: str) -> None:
        """NAME.crt and NAME.key for a server and a client of that subject."""
        (self.folder / f"{name}.ext").write_text(f"subjectAltName={_NAMES}\n")
        self._openssl("req", *self._new_key(name), "-out", f"{name}.csr", "-subj", subject)
        signing = ["-CA", "ca.crt", "-CAkey", "ca.key", "-CAcreateserial", "-days", "30", "-extfile", f"{name}.ext"]
        self._openssl("x509", "-req", "-in", f"{name}.csr", *signing, "-out", f"{name}.crt")

    def keypair(self, name: str) -> None:
        """NAME.key and NAME.pub."""
        self._openssl("ecparam", "-genkey", "-noout", "-name", "prime256v1", "-out", f"{name}.key")
        self._openssl("ec", "-in", f"{name}.key", "-pubout", "-out", f"{name}.pub")

    def context(self, client: str) -> ssl.SSLContext:
        """For requests as that client."""
        context = ssl.create_default_context(cafile=str(self.folder / "ca.crt"))
        context.load_cert_chain(self.folder / f"{client}.crt", self.folder / f"{client}.key")
        return context

    @staticmethod
    def _new_key(name: str) -> list[str]:
        return ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-keyout", f"{name}.key"]

    def _openssl(self, *arguments: str) -> None:
        done = subprocess.run(["openssl", *arguments], cwd=self.folder, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
