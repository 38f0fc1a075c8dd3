"""
The Python that runs the code of an interpreter context, as text for C{python -c}.

It reads a JSON object a line and writes one for each piece of output, then C{done}.
"""

from __future__ import annotations


WORKER = """
import contextlib, io, json, os, sys, traceback

requests, answers = sys.stdin, sys.stdout
sys.stdin = io.StringIO()


class Told(io.TextIOBase):
    def __init__(self, kind):
        self.kind = kind

    def writable(self):
        return True

    def write(self, text):
        if text:
            tell({"type": self.kind, "text": text})
        return len(text)


def tell(message):
    answers.write(json.dumps(message) + "\\n")
    answers.flush()


variables = {"__name__": "__main__"}
for line in requests:
    request = json.loads(line)
    before = dict(os.environ)
    os.environ.update(request["envs"])
    with contextlib.redirect_stdout(Told("stdout")), contextlib.redirect_stderr(Told("stderr")):
        try:
            exec(compile(request["code"], "<code>", "exec"), variables)
        except BaseException as reason:
            text = traceback.format_exc()
            tell({"type": "error", "name": type(reason).__name__, "value": str(reason),
                  "traceback": text})
    os.environ.clear()
    os.environ.update(before)
    answers.write("done\\n")
    answers.flush()
"""
