"""`python -m reference [--check]` with charts/ on the path (`make generate`, `make check`)."""

import argparse
import json
import sys
from pathlib import Path

from reference.readme import read_rules, readme
from reference.schema import schema
from reference.values import ValuesError, read

CHART = Path(__file__).resolve().parents[1] / "ai-assistant"


def generated(chart: Path) -> dict[Path, str]:
    """Files and what should be in them. Raises ValuesError."""
    values = read(chart / "values.yaml")
    template = (Path(__file__).parent / "readme.md").read_text()
    return {
        chart / "values.schema.json": json.dumps(schema(values), indent=2, ensure_ascii=False) + "\n",
        chart / "README.md": readme(template, values, read_rules(chart / "files/operator-role.yaml")),
    }


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m reference", description="Write the chart's schema and README.")
    parser.add_argument("--check", action="store_true", help="write nothing; fail if a file is not up to date")
    check = parser.parse_args().check
    try:
        files = generated(CHART)
    except ValuesError as error:
        sys.stderr.write(f"error: {error}\n")
        return 1
    stale = [path for path, text in files.items() if not path.is_file() or path.read_text() != text]
    for path in stale:
        if not check:
            path.write_text(files[path])
        sys.stdout.write(f"{path.relative_to(CHART.parents[1])}: {'run `make generate`' if check else 'written'}\n")
    return 1 if check and stale else 0


if __name__ == "__main__":
    sys.exit(main())
