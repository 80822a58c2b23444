"""Stores a tree with Python's ftplib, lists it, fetches it, and compares it byte for byte.

Usage: ftplib_client.py PORT USER PASSWORD LOCAL ROOT

LOCAL is a directory to be made, for what is stored and what is fetched; ROOT is what the server serves.
"""

import ftplib
import io
import os
import random
import sys

port, user, password, local, root = sys.argv[1:]

BIG = 5 * 1024 * 1024 + 1
TREE = {
    "empty": b"",
    "one": b"1",
    "with space": b"a b",
    " before and after ": b" ",
    "-dash": b"-",
    "-la": b"-la",
    "Ünïcödé/日本語 🎈": "気球".encode(),
    'quote"s': b'"',
    "d/e/ f /226 done.": b"226 done.\r\n",
    "d/e/lines": b"\r\n\n\r\r\n\0\xff\xf4",
    "d/big": random.Random(1).getrandbits(8 * BIG).to_bytes(BIG, "big"),
}


def main():
    write(os.path.join(local, "stored"))
    with ftplib.FTP() as ftp:
        ftp.encoding = "utf-8"  # The default since 3.9.
        ftp.connect("127.0.0.1", int(port), timeout=100)
        ftp.login(user, password)
        store(ftp, os.path.join(local, "stored"))
        expect("on the server's disk", read(root), TREE)
        fetch(ftp, os.path.join(local, "fetched"))
        expect("fetched", read(os.path.join(local, "fetched")), TREE)
        lists(ftp)
        resumes(ftp)
        aborts(ftp)
        refuses(ftp)
        ftp.rename("one", "two")
        removes(ftp)
        expect("left", os.listdir(root), [])
    print("all is well")


def expect(what, found, expected):
    if found != expected:
        sys.exit(f"{what}: {found!r:.1000} instead of {expected!r:.1000}")


def write(directory):
    for name, contents in TREE.items():
        path = os.path.join(directory, name)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "wb") as file:
            file.write(contents)


def read(directory):
    tree = {}
    for above, _, names in os.walk(directory):
        for name in names:
            path = os.path.join(above, name)
            with open(path, "rb") as file:
                tree[os.path.relpath(path, directory)] = file.read()
    return tree


def store(ftp, directory):
    for name in os.listdir(directory):
        path = os.path.join(directory, name)
        if os.path.isdir(path):
            expect("made", ftp.mkd(name), os.path.join(ftp.pwd(), name))
            ftp.cwd(name)
            store(ftp, path)
            ftp.cwd("..")
        else:
            with open(path, "rb") as file:
                ftp.storbinary("STOR " + name, file)
            ftp.voidcmd("TYPE I")
            expect("size", ftp.size(name), os.path.getsize(path))


def fetch(ftp, directory):
    os.mkdir(directory)
    for name, facts in list(ftp.mlsd(facts=["type", "size"])):
        path = os.path.join(directory, name)
        if facts["type"] == "dir":
            ftp.cwd(name)
            fetch(ftp, path)
            ftp.cwd("..")
        else:
            with open(path, "wb") as file:
                ftp.retrbinary("RETR " + name, file.write)
            expect("size", int(facts["size"]), os.path.getsize(path))


def lists(ftp):
    names = sorted({name.split("/")[0] for name in TREE})
    expect("nlst", sorted(ftp.nlst()), names)
    expect("nlst of a directory", sorted(ftp.nlst("d/e")), [" f ", "lines"])
    lines = []
    ftp.dir(lines.append)
    for name in names:
        kind = "d" if os.path.isdir(os.path.join(root, name)) else "-"
        if not any(line.startswith(kind) and line.endswith(" " + name) for line in lines):
            sys.exit(f"{name!r} is not in {lines}")
    expect("lines", len(lines), len(names))


def resumes(ftp):
    big = TREE["d/big"]
    pieces = []
    ftp.retrbinary("RETR d/big", pieces.append, rest=1_000_000)
    expect("the rest", b"".join(pieces), big[1_000_000:])
    ftp.storbinary("STOR d/big", io.BytesIO(b"the end"), rest=10)
    expect("resumed", read(root)["d/big"], big[:10] + b"the end")
    ftp.storlines("STOR d/e/lines", io.BytesIO(b"1\n2\n"))
    expect("lines", read(root)["d/e/lines"], b"1\n2\n")
    lines = []
    ftp.retrlines("RETR d/e/lines", lines.append)
    expect("lines", lines, ["1", "2"])


def aborts(ftp):
    with ftp.transfercmd("STOR aborted") as connection:
        connection.sendall(b"some")
        expect("aborted", ftp.abort()[:3], "426")
        expect("abort", ftp.voidresp()[:3], "226")
    ftp.delete("aborted")
    ftp.set_pasv(False)
    try:
        ftp.nlst()
        sys.exit("the server has opened a connection")
    except ftplib.error_perm as error:
        expect("active mode", str(error)[:3], "502")
    ftp.set_pasv(True)


def refuses(ftp):
    for refused in [
        lambda: ftp.retrbinary("RETR ../secret", print),
        lambda: ftp.storbinary("STOR nowhere/x", io.BytesIO()),
        lambda: ftp.cwd("one"),
        lambda: ftp.delete("d"),
        lambda: ftp.rmd("d"),
        lambda: ftp.rename("nothing", "x"),
    ]:
        try:
            refused()
            sys.exit("it is not refused")
        except ftplib.error_perm as error:
            expect("refusal", str(error)[:3], "550")


def removes(ftp):
    for name, facts in list(ftp.mlsd(facts=["type"])):
        if facts["type"] == "dir":
            ftp.cwd(name)
            removes(ftp)
            ftp.cwd("..")
            ftp.rmd(name)
        else:
            ftp.delete(name)


main()
