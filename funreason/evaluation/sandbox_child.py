"""The child process that runs one program of a model and tells over a pipe whether its test passed.

Run as a script by `sandbox.run_program`, in an empty folder, with no environment. It reads a JSON object from stdin
(`program`, `test`, `token`, limits), gives up its rights, runs the two texts one after the other, and writes the token
to the pipe. It imports nothing of the package: what is loaded here is within reach of the program.

What it gives up, before a line of the program runs: files outside its folder for writing and all but Python's own for
reading (Landlock), sockets, new processes and programs, signals and tracing (a seccomp filter), memory, processor time,
the size and number of files (rlimits). None of it needs privileges; where the kernel refuses one, nothing is run and
the exit status says which.
"""

import ctypes
import json
import os
import platform
import resource
import struct
import sys

CANNOT_LANDLOCK, CANNOT_SECCOMP = 81, 82
_SYSCALLS = {
    "x86_64": (
        0xC000003E,
        {"clone": 56, "clone3": 435},
        # fork, vfork, execve, execveat; socket, socketpair, connect, bind, sendto, sendmsg; ptrace, process_vm_*, kill,
        # tkill, tgkill, pidfd_*; io_uring; unshare, setns, mount, chroot, bpf, keyctl, perf_event_open, userfaultfd
        [
            *(57, 58, 59, 322, 41, 53, 42, 49, 44, 46, 101, 310, 311, 62, 200, 234, 424, 434, 438),
            *(425, 426, 427, 272, 308, 165, 161, 321, 250, 298, 323),
        ],
    ),
    "aarch64": (
        0xC00000B7,
        {"clone": 220, "clone3": 435},
        [
            *(221, 281, 198, 199, 203, 200, 206, 211, 117, 270, 271, 129, 130, 131, 424, 434, 438),
            *(425, 426, 427, 97, 268, 40, 51, 280, 219, 241, 282),
        ],
    ),
}
_EPERM, _ENOSYS = 1, 38
_ALLOW, _ERRNO, _KILL = 0x7FFF0000, 0x00050000, 0x80000000


def limit(memory_bytes: int, seconds: int, file_bytes: int, files: int) -> None:
    """Bound memory, processor time, and the size and number of files."""
    for what, value in (
        (resource.RLIMIT_AS, memory_bytes),
        (resource.RLIMIT_CPU, seconds),
        (resource.RLIMIT_FSIZE, file_bytes),
        (resource.RLIMIT_NOFILE, files),
        (resource.RLIMIT_CORE, 0),
    ):
        resource.setrlimit(what, (value, value))


def landlock(folder: str, readable: list[str]) -> bool:
    """Allow writing below `folder` only, and reading below it and `readable`; False where the kernel cannot."""
    libc = ctypes.CDLL(None, use_errno=True)
    version = libc.syscall(444, None, 0, 1)
    if version < 1:
        return False
    # Bits 0-12 are of the first version; REFER, TRUNCATE and IOCTL_DEV came with versions 2, 3 and 5.
    handled = (1 << 13) - 1
    for bit, since in ((13, 2), (14, 3), (15, 5)):
        handled |= (1 << bit) if version >= since else 0
    attributes = struct.pack("Q", handled)
    rules = libc.syscall(444, attributes, len(attributes), 0)
    if rules < 0:
        return False
    read = (1 << 2) | (1 << 3)
    for path, access in [(folder, handled & ~1), *((path, read) for path in readable)]:
        opened = os.open(path, os.O_PATH | os.O_CLOEXEC)
        allowed = access if os.path.isdir(path) else access & (1 << 2)
        if libc.syscall(445, rules, 1, struct.pack("=Qi", allowed, opened), 0):
            return False
        os.close(opened)
    libc.prctl(38, 1, 0, 0, 0)  # PR_SET_NO_NEW_PRIVS
    done = bool(libc.syscall(446, rules, 0) == 0)
    os.close(rules)
    return done


def seccomp() -> bool:
    """Refuse sockets, processes, programs and signals from here on; False where the machine or kernel cannot."""
    found = _SYSCALLS.get(platform.machine())
    if found is None:
        return False
    arch, threads, refused = found

    def step(code: int, value: int, yes: int = 0, no: int = 0) -> bytes:
        return struct.pack("HBBI", code, yes, no, value)

    load, equal, more, has, answer = 0x20, 0x15, 0x35, 0x45, 0x06
    program = [
        step(load, 4),
        step(equal, arch, 1, 0),
        step(answer, _KILL),
        step(load, 0),
        step(more, 0x40000000, 0, 1),  # the x32 calls have other numbers
        step(answer, _KILL),
        step(equal, threads["clone3"], 0, 1),
        step(answer, _ERRNO | _ENOSYS),  # its flags cannot be read here; the C library falls back to clone
        step(equal, threads["clone"], 0, 4),
        step(load, 16),
        step(has, 0x10000, 0, 1),  # CLONE_THREAD
        step(answer, _ALLOW),
        step(answer, _ERRNO | _EPERM),
    ]
    for number in refused:
        program += [step(equal, number, 0, 1), step(answer, _ERRNO | _EPERM)]
    program.append(step(answer, _ALLOW))
    code = b"".join(program)
    held = ctypes.create_string_buffer(code, len(code))
    filter_ = struct.pack("HxxxxxxP", len(program), ctypes.addressof(held))
    libc = ctypes.CDLL(None, use_errno=True)
    libc.prctl(38, 1, 0, 0, 0)
    return bool(libc.prctl(22, 2, ctypes.c_char_p(filter_), 0, 0) == 0)


def main() -> None:
    """Run what stdin says, and report on the pipe given as the first argument."""
    asked = json.loads(sys.stdin.buffer.read())
    pipe = int(sys.argv[1])
    os.set_inheritable(pipe, False)
    limit(asked["memory_bytes"], asked["seconds"], asked["file_bytes"], asked["files"])
    readable = [path for path in asked["readable"] if os.path.exists(path)]
    if not landlock(os.getcwd(), readable):
        os._exit(CANNOT_LANDLOCK)
    if not seccomp():
        os._exit(CANNOT_SECCOMP)
    try:
        space: dict[str, object] = {"__name__": "solution"}
        exec(compile(asked["program"], "solution.py", "exec"), space)  # noqa: S102  the one place, asked for by a flag
        exec(compile(asked["test"], "test.py", "exec"), space)  # noqa: S102
    except BaseException as error:
        said = f"{type(error).__name__}: {error}"
        os.write(pipe, said.encode("utf-8", "replace")[:300])
        os._exit(1)
    os.write(pipe, asked["token"].encode())
    os._exit(0)


if __name__ == "__main__":
    main()
