"""Switches of ONNX Runtime that are read from the environment when a session is made."""

# ONNX Runtime has no session option for it and reads it when a session is made. Its flash attention for CPUs was slower
# than the plain kernel at every length and batch size that we measured (a decode step of 16 rows: 31 against 23 ms).
CPU_ENVIRONMENT = {"ORT_GQA_DISABLE_FLASH_ATTENTION": "1"}
