"""
The table of the toolbox's routes, those of 0.190 and the few newer ones that SDKs use.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from attrs import frozen

from sandbox_billing.devnet.daytona import toolbox_file_routes as files
from sandbox_billing.devnet.daytona import toolbox_process_routes as process
from sandbox_billing.devnet.daytona import toolbox_tables as canned
from sandbox_billing.devnet.daytona import toolbox_terminal_routes as terminal
from sandbox_billing.devnet.daytona.toolbox_call import Call


@frozen
class Route:
    """
    @ivar pattern: Segments below the sandbox; C{:} stands for a parameter.
    @ivar status: Of its success.
    """

    method: str
    pattern: str
    handler: Callable[[Call], Awaitable[Any]]
    status: int = 200

    def match(self, method: str, segments: tuple[str, ...]) -> tuple[str, ...] | None:
        """
        Unlike the API, with regard to case.

        @param segments: Decoded.
        @return: The parameters, or None.
        """
        pattern = self.pattern.split("/")
        if method != self.method or len(pattern) != len(segments):
            return None
        pairs = list(zip(pattern, segments, strict=True))
        if any(segment != expected and expected != ":" for expected, segment in pairs):
            return None
        return tuple(segment for expected, segment in pairs if expected == ":")


_SESSION = "process/session"
_COMMAND = "process/session/:/command/:"
_DESKTOP = "computeruse"

# Fixed paths stand before those whose parameter would swallow them.
ROUTES = (
    Route("POST", "process/execute", process.execute),
    Route("POST", "process/code-run", process.code_run),
    Route("GET", _SESSION, process.list_sessions),
    Route("POST", _SESSION, process.create_session, 201),
    Route("GET", f"{_SESSION}/entrypoint", process.entrypoint),
    Route("GET", f"{_SESSION}/entrypoint/logs", process.entrypoint_logs),
    Route("GET", f"{_SESSION}/:", process.get_session),
    Route("DELETE", f"{_SESSION}/:", process.delete_session, 204),
    Route("POST", f"{_SESSION}/:/exec", process.session_execute),
    Route("GET", _COMMAND, process.session_command),
    Route("GET", f"{_COMMAND}/logs", process.session_logs),
    Route("POST", f"{_COMMAND}/input", process.session_input, 204),
    Route("GET", "process/pty", terminal.list_ptys),
    Route("POST", "process/pty", terminal.create_pty, 201),
    Route("GET", "process/pty/create-connect", terminal.create_connect_pty),
    Route("GET", "process/pty/:", terminal.get_pty),
    Route("DELETE", "process/pty/:", terminal.delete_pty),
    Route("GET", "process/pty/:/connect", terminal.connect_pty),
    Route("POST", "process/pty/:/resize", terminal.resize_pty),
    Route("GET", "process/interpreter/execute", terminal.interpret),
    Route("GET", "process/interpreter/context", terminal.list_contexts),
    Route("POST", "process/interpreter/context", terminal.create_context),
    Route("DELETE", "process/interpreter/context/:", terminal.delete_context),
    Route("GET", "files", files.list_files),
    Route("DELETE", "files", files.delete_file, 204),
    Route("GET", "files/info", files.file_info),
    Route("GET", "files/search", files.search_files),
    Route("GET", "files/find", files.find_in_files),
    Route("GET", "files/download", files.download_file),
    Route("POST", "files/bulk-download", files.bulk_download),
    Route("POST", "files/upload", files.upload_file),
    Route("POST", "files/upload-v2", files.upload_file),
    Route("POST", "files/bulk-upload", files.bulk_upload),
    Route("POST", "files/folder", files.make_folder, 201),
    Route("POST", "files/move", files.move_file),
    Route("POST", "files/permissions", files.set_permissions),
    Route("POST", "files/replace", files.replace_in_files),
    Route("GET", "work-dir", canned.folder),
    Route("GET", "user-home-dir", canned.folder),
    Route("GET", "version", canned.version),
    Route("POST", "init", canned.initialise),
    Route("GET", "port", canned.ports),
    Route("GET", "port/:/in-use", canned.port_in_use),
    Route("GET", "system/metrics", canned.metrics),
    Route("GET", "git/status", canned.git_status),
    Route("GET", "git/history", canned.git_history),
    Route("GET", "git/branches", canned.git_branches),
    Route("POST", "git/branches", canned.git_quiet, 201),
    Route("DELETE", "git/branches", canned.git_quiet, 204),
    Route("POST", "git/commit", canned.git_commit),
    Route("POST", "git/clone", canned.git_clone),
    *(
        Route("POST", f"git/{name}", canned.git_quiet)
        for name in ("add", "checkout", "pull", "push")
    ),
    *(
        Route("POST", f"lsp/{name}", canned.lsp_quiet)
        for name in ("start", "stop", "did-open", "did-close")
    ),
    Route("POST", "lsp/completions", canned.lsp_completions),
    Route("GET", "lsp/document-symbols", canned.lsp_symbols),
    Route("GET", "lsp/workspacesymbols", canned.lsp_symbols),
    Route("POST", f"{_DESKTOP}/start", canned.computer_start),
    Route("POST", f"{_DESKTOP}/stop", canned.computer_stop),
    Route("GET", f"{_DESKTOP}/status", canned.computer_status),
    Route("GET", f"{_DESKTOP}/process-status", canned.computer_start),
    Route("GET", f"{_DESKTOP}/process/:/status", canned.process_status),
    Route("POST", f"{_DESKTOP}/process/:/restart", canned.process_restart),
    Route("GET", f"{_DESKTOP}/process/:/logs", canned.process_logs),
    Route("GET", f"{_DESKTOP}/process/:/errors", canned.process_errors),
    *(
        Route("GET", f"{_DESKTOP}/screenshot{more}", canned.screenshot)
        for more in ("", "/region", "/compressed", "/region/compressed")
    ),
    Route("GET", f"{_DESKTOP}/display/info", canned.display),
    Route("GET", f"{_DESKTOP}/display/windows", canned.windows),
    Route("GET", f"{_DESKTOP}/mouse/position", canned.mouse),
    *(
        Route("POST", f"{_DESKTOP}/mouse/{name}", canned.mouse)
        for name in ("move", "click", "drag")
    ),
    Route("POST", f"{_DESKTOP}/mouse/scroll", canned.mouse_scroll),
    *(
        Route("POST", f"{_DESKTOP}/keyboard/{name}", canned.keyboard)
        for name in ("type", "key", "hotkey")
    ),
    Route("GET", f"{_DESKTOP}/recordings", canned.recordings),
    Route("POST", f"{_DESKTOP}/recordings/start", canned.no_recording),
    Route("POST", f"{_DESKTOP}/recordings/stop", canned.no_recording),
    Route("GET", f"{_DESKTOP}/recordings/:", canned.no_recording),
    Route("DELETE", f"{_DESKTOP}/recordings/:", canned.no_recording),
    Route("GET", f"{_DESKTOP}/recordings/:/download", canned.no_recording),
    Route("GET", f"{_DESKTOP}/a11y/tree", canned.no_accessibility),
    *(
        Route("POST", f"{_DESKTOP}/a11y/{name}", canned.no_accessibility)
        for name in ("find", "node/focus", "node/invoke", "node/value")
    ),
)
