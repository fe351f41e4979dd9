# SPDX-License-Identifier: Apache-2.0
# What the scripts of this folder share: models compiled small, programs built on their headers in C and C++.
import os
import re
import shutil
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "cli"))
from cli import *

PROGRAMS = os.path.join(ROOT, "tests", "interface", "programs")
# name: command, as far as the compilers are there.
COMPILERS = {name: command for name, command in {
    "gcc": ["gcc", "-std=c11", "-x", "c"], "clang": ["clang", "-std=c11", "-x", "c"],
    "g++": ["g++", "-std=c++17", "-x", "c++"], "clang++": ["clang++", "-std=c++17", "-x", "c++"]}.items() if shutil.which(name)}
STRICT = ["-Wall", "-Wextra", "-Wpedantic", "-Wconversion", "-Wshadow", "-Werror"]
ONE_SIZE = ("head=2", "dim=8", "seq=16", "batch=8")


def sizes(*more):
    return [word for size in ONE_SIZE + more for word in ("-D", size)]


def strategies(path):
    return re.findall(r"^strategy (\w+)", read(path).decode(), re.M)


def compile_model(model, out, *flags):
    """OUT.o and OUT.h of a .tgf."""
    return succeeds(TGFC, model, *flags, "-o", f"{out}.o", "--header", f"{out}.h", "-mcpu", "native")


def headers_alone(header, what):
    """The header compiles by itself, included twice, by every compiler there is, without a warning."""
    source = write(header[:-2] + "_alone.c", f'#include "{header}"\n#include "{header}"\nint main(void) {{ return 0; }}\n')
    for name, command in COMPILERS.items():
        r = run(*command, *STRICT, f"-I{ROOT}/include", "-fsyntax-only", source)
        check(r.returncode == 0 and not r.stderr, f"{name}: the header of {what} alone", r.stderr)


def build(d, program, objects, compiler="gcc", link=(), flags=()):
    """programs/PROGRAM.c in folder d, with NAME.h and NAME.o of the objects; returns the program's path."""
    out = f"{d}/{program}_{compiler.replace('+', 'x')}"
    sanitize = ["-fsanitize=address,undefined"] if SANITIZED else []
    succeeds(*COMPILERS[compiler], "-g", "-O1", *STRICT, *sanitize, *flags, f"-I{ROOT}/include", f"-I{d}", f"-I{PROGRAMS}",
             "-c", "-o", f"{out}.o", f"{PROGRAMS}/{program}.c")
    linker = COMPILERS[compiler][0]
    succeeds(linker, *sanitize, "-o", out, f"{out}.o", *(f"{d}/{name}.o" for name in objects), f"{BUILD}/libtgf_runtime.a",
             f"{BUILD}/libtgf_base.a", "-lm", "-lpthread", *link)
    return out
