# SPDX-License-Identifier: Apache-2.0
# An editor for tests of `tgf lsp`: speaks the protocol, counts positions by itself, and keeps its own copy of each text.
import json
import queue
import re
import subprocess
import threading
import traceback
from urllib.parse import quote, unquote
from cli import *

EOL = re.compile(r"\r\n|\n|\r")


def units(text):
    """Length in UTF-16 code units."""
    return len(text.encode("utf-16-le", "surrogatepass")) // 2


def position(text, index):
    lines = EOL.split(text[:index])
    if index and text[index - 1] == "\r" and text[index:index + 1] == "\n":  # between the two: the line's end
        lines = EOL.split(text[:index - 1])
    return {"line": len(lines) - 1, "character": units(lines[-1])}


def index_of(text, at):
    start = 0
    for _ in range(at["line"]):
        start = EOL.search(text, start).end()
    left = at["character"]
    while left > 0:
        left -= units(text[start])
        start += 1
    return start


def applied(text, edits):
    spans = sorted((index_of(text, e["range"]["start"]), index_of(text, e["range"]["end"]), e["newText"]) for e in edits)
    out, last = [], 0
    for start, end, new in spans:
        assert start >= last, "edits overlap"
        out += [text[last:start], new]
        last = end
    return "".join(out) + text[last:]


def uri_of(path):
    return "file://" + quote(path)


class Editor:
    def __init__(self, *args, capabilities=None, options=None, root=None, start=True, env=None):
        self.process = subprocess.Popen([TGF, "lsp", *args], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                        stderr=subprocess.PIPE, env=env)
        self.ids, self.texts, self.versions = 0, {}, {}
        self.diagnostics, self.notes, self.inbox = {}, [], queue.Queue()
        threading.Thread(target=self._read, daemon=True).start()
        self.errors = []
        threading.Thread(target=lambda: self.errors.append(self.process.stderr.read()), daemon=True).start()
        if start:
            r = self.ask("initialize", {"processId": None, "rootUri": root and uri_of(root), "capabilities": capabilities or {},
                                        "initializationOptions": options or {}})
            self.capabilities = r["result"]["capabilities"]
            self.tell("initialized", {})

    def _read(self):
        out = self.process.stdout
        while True:
            header = b""
            while not header.endswith(b"\r\n\r\n"):
                byte = out.read(1)
                if not byte:
                    self.inbox.put(("junk", header) if header else None)
                    return
                header += byte
            length = re.fullmatch(rb"Content-Length: (\d+)\r\n\r\n", header)
            if not length:
                self.inbox.put(("junk", header))
                return
            body = out.read(int(length[1]))
            try:
                self.inbox.put(json.loads(body.decode("utf-8")))
            except ValueError as why:
                self.inbox.put(("junk", body, why))

    def raw(self, data):
        try:
            self.process.stdin.write(data)
            self.process.stdin.flush()
        except BrokenPipeError:
            pass

    def send(self, message):
        body = json.dumps(message, ensure_ascii=random.random() < 0.5).encode("utf-8", "surrogatepass")
        self.raw(b"Content-Length: %d\r\n\r\n" % len(body) + body)

    def receive(self, timeout=100):
        try:
            m = self.inbox.get(timeout=timeout)
        except queue.Empty:
            sys.exit("FAILED: the server says nothing, at\n" + "".join(traceback.format_stack(limit=6)))
        if isinstance(m, tuple):
            sys.exit(f"FAILED: not a message: {m!r:.500}")
        if m and m.get("method") == "textDocument/publishDiagnostics":
            self.diagnostics[m["params"]["uri"]] = m["params"]
        elif m and "method" in m:
            self.notes.append(m)
        return m

    def ask(self, method, params):
        self.ids += 1
        self.send({"jsonrpc": "2.0", "id": self.ids, "method": method, "params": params})
        return self.answer(self.ids)

    def answer(self, of):
        while True:
            m = self.receive()
            if m is None:
                sys.exit(f"FAILED: the server ended: {self.process.wait()} {self.errors}")
            if "method" not in m and m.get("id") == of:
                return m

    def tell(self, method, params):
        self.send({"jsonrpc": "2.0", "method": method, "params": params})

    def open(self, path, text=None):
        uri = path if ":" in path else uri_of(path)
        self.texts[uri] = read(path).decode() if text is None else text
        self.versions[uri] = 1
        self.tell("textDocument/didOpen", {"textDocument": {"uri": uri, "languageId": "tgf", "version": 1,
                                                            "text": self.texts[uri]}})
        return uri

    def close(self, uri):
        self.tell("textDocument/didClose", {"textDocument": {"uri": uri}})
        del self.texts[uri]

    def replace(self, uri, start, end, new):
        """One incremental change, of characters of the text."""
        text = self.texts[uri]
        change = {"range": {"start": position(text, start), "end": position(text, end)}, "text": new}
        self.texts[uri] = text[:start] + new + text[end:]
        return change

    def change(self, uri, *changes):
        self.versions[uri] += 1
        self.tell("textDocument/didChange", {"textDocument": {"uri": uri, "version": self.versions[uri]},
                                             "contentChanges": list(changes)})

    def write(self, uri, text):
        """The whole text anew."""
        self.texts[uri] = text
        self.change(uri, {"text": text})

    def type(self, uri, old, new):
        at = self.texts[uri].index(old)
        self.change(uri, self.replace(uri, at, at + len(old), new))

    def settled(self, uri):
        """The diagnostics of the text as it is now."""
        while self.diagnostics.get(uri, {}).get("version", -1) != self.versions[uri]:
            self.receive()
        return self.diagnostics[uri]["diagnostics"]

    def place(self, uri, text, nth=0, inside=0):
        at = -1
        for _ in range(nth + 1):
            at = self.texts[uri].find(text, at + 1)
            if at < 0:
                sys.exit(f"FAILED: no {text!r} in {uri}")
        return {"textDocument": {"uri": uri}, "position": position(self.texts[uri], at + inside)}

    def hover(self, *where):
        r = self.ask("textDocument/hover", self.place(*where))
        return r["result"]["contents"]["value"] if r.get("result") else ""

    def marked(self, uri, range_):
        """What a range of a text covers."""
        text = self.texts[uri] if uri in self.texts else read(unquote(uri[7:])).decode()
        return text[index_of(text, range_["start"]):index_of(text, range_["end"])]

    def definition(self, *where):
        r = self.ask("textDocument/definition", self.place(*where))["result"]
        return r and (r["uri"], r["range"]["start"]["line"] + 1, self.marked(r["uri"], r["range"]))

    def rename(self, new, *where):
        return self.ask("textDocument/rename", {**self.place(*where), "newName": new})

    def quit(self, status=0):
        check(self.ask("shutdown", None).get("result", 1) is None, "shutdown answers null")
        self.tell("exit", None)
        self.ended(status)

    def ended(self, status):
        try:
            got = self.process.wait(60)
        except subprocess.TimeoutExpired:
            self.process.kill()
            got = "none: it does not end"
        check(got == status, f"exit status {got} of the server, expected {status}", *self.errors)
