"""What a thread does that waits for work, compiled by numba: import this by `compiler.loops` only.

It holds no lock of Python's. So it sees within a tenth of a microsecond that it is asked, while to
wake a thread that sleeps takes the system many; and work that is compiled too it does at once. Of
each thread a word in memory says what it does, which it and who asks change by atomic steps only;
two more words say what it is called for.
"""

from __future__ import annotations

import platform
from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from arrayconv.backends.numpy.addresses import call, call_at, members, number
from arrayconv.backends.numpy.borrowed import without_owner
from arrayconv.backends.numpy.loop_forms import compiled
from arrayconv.backends.numpy.workers import LINE

ASLEEP, WAITING, CALLED, ASKED, WORKING = range(5)
"""A thread waits for a lock of Python's; it looks at its word again and again; meanwhile it was
called for compiled work, or asked for work of Python's; it works."""
BYTES = 8
"""Of a word."""

_address = ir.IntType(8).as_pointer()
_body = ir.FunctionType(ir.VoidType(), [_address, number, number, number])
_yield = ir.Constant(ir.IntType(32), 1)
_PAUSES = {
    **dict.fromkeys(("x86_64", "AMD64"), ("llvm.x86.sse2.pause", [])),
    **dict.fromkeys(("aarch64", "arm64"), ("llvm.aarch64.hint", [_yield])),
}
"""LLVM's function that leaves a processor's core to others for a moment, and what it takes."""


def _word(builder: Any, address: Any) -> Any:
    return builder.inttoptr(address, number.as_pointer())


@intrinsic
def load(context: Any, word: Any) -> Any:
    """Return the word at an address."""

    def code(context: Any, builder: Any, signature: Any, given: Any) -> Any:
        return builder.load_atomic(_word(builder, given[0]), "seq_cst", align=BYTES)

    return types.int64(types.int64), code


@intrinsic
def exchange(context: Any, word: Any, value: Any) -> Any:
    """Write the word at an address, and return what was there."""

    def code(context: Any, builder: Any, signature: Any, given: Any) -> Any:
        return builder.atomic_rmw("xchg", _word(builder, given[0]), given[1], "seq_cst")

    return types.int64(types.int64, types.int64), code


@intrinsic
def change(context: Any, word: Any, old: Any, new: Any) -> Any:
    """Write the word at an address if ``old`` is there, and return whether it was."""

    def code(context: Any, builder: Any, signature: Any, given: Any) -> Any:
        word, old, new = given
        done = builder.cmpxchg(_word(builder, word), old, new, "seq_cst", "seq_cst")
        return builder.extract_value(done, 1)

    return types.boolean(types.int64, types.int64, types.int64), code


@intrinsic
def pause(context: Any) -> Any:
    """Leave the processor's core to others for a moment."""

    def code(context: Any, builder: Any, signature: Any, given: Any) -> Any:
        if platform.machine() in _PAUSES:
            name, arguments = _PAUSES[platform.machine()]
            kind = ir.FunctionType(ir.VoidType(), [each.type for each in arguments])
            builder.call(cgutils.get_or_insert_function(builder.module, kind, name), arguments)
        return context.get_dummy_value()

    return types.void(), code


@intrinsic
def add(context: Any, word: Any, value: Any) -> Any:
    """Add to the word at an address, and return what was there."""

    def code(context: Any, builder: Any, signature: Any, given: Any) -> Any:
        return builder.atomic_rmw("add", _word(builder, given[0]), given[1], "seq_cst")

    return types.int64(types.int64, types.int64), code


FAILED, BODY, EACH, PARTS, RANGES, LOOP, BEFORE, AFTER = range(8)
"""What a frame holds, for threads that share a loop's work: whether there was too little memory;
what calls the loop; the length of the ranges for which it is called; of each thread's part of the
work how many there are, and where the beginning of the next range and the end are; the loop, and
what it takes before and after its range."""


@intrinsic(prefer_literal=True)
def framed(
    context: Any,
    loop: Any,
    numbered: Any,
    each: Any,
    parts: Any,
    ranges: Any,
    before: Any,
    after: Any,
) -> Any:
    """Return the address of a frame, which lives as long as the call of whoever asks."""
    ints = (types.int64,) * (3 if numbered.literal_value else 2)
    takes = (*before.types, *ints, *after.types)

    def code(context: Any, builder: Any, signature: Any, given: Any) -> Any:
        loop, _, each, parts, ranges, *values = given
        # Whoever asks holds them.
        values = [
            without_owner(builder, kind, value)
            for kind, value in zip((before, after), values, strict=True)
        ]
        kinds = [context.get_value_type(each) for each in (before, after)]
        kind = ir.LiteralStructType([*[number] * BEFORE, *kinds])
        unique = builder.module.get_unique_name("body")
        body = ir.Function(builder.module, _body, unique)
        body.linkage = "internal"
        _write(context, body, kind, takes)
        frame = cgutils.alloca_once(builder, kind)
        fields = (number(0), builder.ptrtoint(body, number), each, parts, ranges, loop, *values)
        for place, value in enumerate(fields):
            builder.store(value, cgutils.gep_inbounds(builder, frame, 0, place))
        return builder.ptrtoint(frame, number)

    given = (types.int64, numbered, types.int64, types.int64, types.int64, before, after)
    return types.int64(*given), code


def _write(context: Any, body: Any, kind: Any, takes: Any) -> None:
    """Write a function that calls the loop of a frame for a range, as a thread of a number."""
    builder = ir.IRBuilder(body.append_basic_block())
    frame, *given = body.args
    frame = builder.bitcast(frame, kind.as_pointer())
    fields = [cgutils.gep_inbounds(builder, frame, 0, place) for place in range(len(kind))]
    before, after = (members(builder, builder.load(fields[place])) for place in (BEFORE, AFTER))
    given = given[: len(takes) - len(before) - len(after)]
    status = call(context, builder, builder.load(fields[LOOP]), takes, [*before, *given, *after])
    with cgutils.if_unlikely(builder, status.is_error):
        builder.store(number(1), fields[FAILED])
    builder.ret_void()


@intrinsic
def _call_body(context: Any, body: Any, frame: Any, begin: Any, end: Any, thread: Any) -> Any:
    def code(context: Any, builder: Any, signature: Any, given: Any) -> Any:
        body, frame, *numbers = given
        function = builder.inttoptr(body, _body.as_pointer())
        builder.call(function, [builder.inttoptr(frame, _address), *numbers])
        return context.get_dummy_value()

    return types.void(*[types.int64] * 5), code


@compiled
def work(frame: int, thread: int) -> None:
    """Call a loop for the ranges of a thread's part, and then for those that others leave.

    So that each thread meets again what its own cache holds, call after call.
    """
    body, each = load(frame + BODY * BYTES), load(frame + EACH * BYTES)
    parts, ranges = load(frame + PARTS * BYTES), load(frame + RANGES * BYTES)
    for n in range(parts):
        next_range = ranges + (thread + n) % parts * LINE
        stop = load(next_range + BYTES)
        while True:
            begin = add(next_range, each)
            if begin >= stop:
                break
            _call_body(body, frame, begin, min(begin + each, stop), thread)


@compiled
def wait(word: int, looks: int, grace: int) -> bool:
    """Do what the thread is called for; return True once it is asked, or False to fall asleep.

    That is after so many looks at its word. Who has asked goes on to compiled work of its own: it
    is given some time to, so that two threads do not meet at Python's lock.
    """
    change(word, WORKING, WAITING)
    left = looks
    while True:
        state = load(word)
        if state == CALLED and change(word, CALLED, WORKING):
            work(load(word + BYTES), load(word + 2 * BYTES))
            exchange(word, WAITING)
            left = looks
        elif state == ASKED and change(word, ASKED, WORKING):
            for _ in range(grace):
                pause()
            return True
        elif state == ASLEEP or (left <= 0 and change(word, WAITING, ASLEEP)):
            return False
        left -= 1
        pause()


@compiled
def ask(word: int) -> bool:
    """Ask a thread for work of Python's, and return whether it sleeps."""
    return bool(exchange(word, ASKED) == ASLEEP)


@compiled
def rest(word: int) -> bool:
    """Have a thread sleep, unless it has something to do; return whether it sleeps."""
    return bool(change(word, WAITING, ASLEEP) or load(word) == ASLEEP)


@compiled
def settle(word: int, asked: int) -> None:
    """Take back what a thread has not begun, or wait until it is done."""
    if not change(word, asked, WAITING):
        while load(word) == WORKING:
            pause()


@compiled
def share_frame(words: Any, frame: int, parts: Any, count: int, each: int) -> None:
    """Have threads that wait work on a frame, and do so too, until all is done.

    ``parts``, to which the frame refers, has a line for each thread: where its part of ``count``
    begins and ends is written there, of whole ranges.
    """
    number, threads = -(-count // each), len(parts)
    for thread in range(threads):
        parts[thread, 0] = number * thread // threads * each
        parts[thread, 1] = min(count, number * (thread + 1) // threads * each)
    for n in range(len(words)):
        exchange(words[n] + BYTES, frame)
        exchange(words[n] + 2 * BYTES, n + 1)
        change(words[n], WAITING, CALLED)
    work(frame, 0)
    for n in range(len(words)):
        settle(words[n], CALLED)


@compiled
def share(
    words: Any, shared: int, loop: int, count: int, each: int, before: Any, after: Any
) -> bool:
    """Run a loop on several threads: see `threads.run_range`.

    ``words`` has where those of the threads that help are, and ``shared`` is where the code of
    `share_frame` is. Return whether there was memory enough.
    """
    parts = np.empty((len(words) + 1, LINE // BYTES), np.int64)
    frame = framed(loop, False, each, len(parts), parts.ctypes.data, before, after)
    call_at(shared, (words, frame, parts, count, each))
    return bool(load(frame + FAILED * BYTES) == 0)


@compiled
def share_numbered(
    words: Any, shared: int, loop: int, count: int, each: int, before: Any, after: Any
) -> bool:
    """Do the same for a loop that takes the number of its thread too."""
    parts = np.empty((len(words) + 1, LINE // BYTES), np.int64)
    frame = framed(loop, True, each, len(parts), parts.ctypes.data, before, after)
    call_at(shared, (words, frame, parts, count, each))
    return bool(load(frame + FAILED * BYTES) == 0)
