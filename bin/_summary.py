"""Says trial's summary in one line: C{N passed, N failed}."""

import re
import sys
from pathlib import Path


text = Path(sys.argv[1]).read_text(encoding="utf-8", errors="replace")
counts = dict.fromkeys(("successes", "failures", "errors", "skips"), 0)
found = re.findall(r"^(?:PASSED|FAILED) \((.*)\)$", text, re.MULTILINE)
for name, number in re.findall(r"(\w+)=(\d+)", found[-1] if found else ""):
    counts[name] = counts.get(name, 0) + int(number)
failed = counts["failures"] + counts["errors"]
skipped = f", {counts['skips']} skipped" if counts["skips"] else ""
sys.stdout.write(f"{counts['successes']} passed, {failed} failed{skipped}\n")
