"""`helm test`: ask the assistant something, as a person would, until an answer comes or the time is up."""

import os
import subprocess
import sys
import time

assistant, seconds = sys.argv[1], float(sys.argv[2])
key = os.environ.pop("API_KEYS").split(",")[0].strip()
os.environ["AI_ASSISTANT_GATEWAY_KEY"] = key.partition(":")[2] or key
ask = ["chat", "--assistant", assistant, "--message", "Say hello in one sentence."]
command = ["ai-assistant", *(ask if assistant else ["status"])]
until = time.monotonic() + seconds
while True:
    done = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True, timeout=seconds)
    sys.stdout.write(done.stdout)
    if done.returncode == 0 and done.stdout.strip():
        sys.exit(0)
    if time.monotonic() > until:
        sys.exit(f"no answer in {seconds:.0f} s; `kubectl get assistants` may tell why")
    time.sleep(5)
