"""Runs the programs of a folder by an adapter, as the runner of WebAssembly/wasi-testsuite does, and says what came of them:
testsuite-runner.py ADAPTER FOLDER. Each program may have NAME.json beside it: args, env, root, exit_code, stdout, stderr."""

import importlib.util
import json
import subprocess
import sys
from pathlib import Path

adapter_path, folder = sys.argv[1], Path(sys.argv[2])

# One that prints its version when it is run is refused as an old one.
alone = subprocess.run([sys.executable, adapter_path, "--version"], capture_output=True, check=True)
assert alone.stdout + alone.stderr == b"", alone
spec = importlib.util.spec_from_file_location("adapter", adapter_path)
adapter = importlib.util.module_from_spec(spec)
spec.loader.exec_module(adapter)
assert adapter.get_wasi_versions() == ["wasm32-wasip1"] and adapter.get_wasi_worlds() == ["wasi:cli/command"]
assert adapter.get_timeout_seconds() > 5
print(adapter.get_name(), adapter.get_version())

for path in sorted(folder.glob("*.wasm")):
    about = path.with_suffix(".json")
    asked = json.loads(about.read_text()) if about.exists() else {}
    root = str(folder / asked["root"]) if "root" in asked else None
    if "dirs" in asked:
        root = [(folder / name, name) for name in asked["dirs"]]
    given = (asked.get("args", []), asked.get("env", {}), root)
    argv = adapter.compute_argv(str(path), given, [], "wasi:cli/command", "wasm32-wasip1")
    program = subprocess.Popen(
        argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    wrong = []
    # Its stdin stays open until all that is asked for has been read.
    for stream in ("stdout", "stderr"):
        if stream in asked:
            text = getattr(program, stream).read(len(asked[stream]))
            if text != asked[stream]:
                wrong.append(f"{stream} {text!r}")
    out, err = program.communicate()
    if program.returncode != asked.get("exit_code", 0):
        wrong.append(f"exit code {program.returncode}")
    print(path.stem, "as asked" if not wrong else " ".join([*wrong, repr(out), repr(err)]))
