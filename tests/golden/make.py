"""Writes the golden files anew: python3 tests/golden/make.py [alignment optimizer …]. Needs torch; the tests do not."""

import pathlib
import subprocess
import sys

here = pathlib.Path(__file__).parent
scripts = [p for p in sorted(here.glob("*.py")) if p.with_suffix(".json").exists()]
wanted = sys.argv[1:] or [script.stem for script in scripts]
for name in wanted:
    subprocess.run([sys.executable, here / f"{name}.py"], check=True)
    print(f"{name}.json written")
