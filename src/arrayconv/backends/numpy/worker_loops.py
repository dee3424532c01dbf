"""What a thread does that waits for work, compiled by numba: import this by `compiler.loops` only.

It holds no lock of Python's. So it sees within a tenth of a microsecond that it is asked, while to
wake a thread that sleeps takes the system many; and work that is compiled too it does at once. Of
each thread a word in memory says what it does, which it and who asks change by atomic steps only;
two more words say what it is called for.
"""

from __future__ import annotations

import platform
from collections.abc import Callable
from functools import cache
from typing import Any

import numba
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from arrayconv.backends.numpy.named_loops import members, name_of, resolved

compiled = numba.njit(cache=True, nogil=True)

ASLEEP, WAITING, CALLED, ASKED, WORKING = range(5)
"""A thread waits for a lock of Python's; it looks at its word again and again; meanwhile it was
called for compiled work, or asked for work of Python's; it works."""
BYTES = 8
"""Of a word."""

_number, _address = ir.IntType(64), ir.IntType(8).as_pointer()
_work = ir.FunctionType(ir.VoidType(), [_address])
_yield = ir.Constant(ir.IntType(32), 1)
_PAUSES = {
    **dict.fromkeys(("x86_64", "AMD64"), ("llvm.x86.sse2.pause", [])),
    **dict.fromkeys(("aarch64", "arm64"), ("llvm.aarch64.hint", [_yield])),
}
"""LLVM's function that leaves a processor's core to others for a moment, and what it takes."""

def _word(builder: Any, address: Any) -> Any:
    return builder.inttoptr(address, _number.as_pointer())


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
def do(context: Any, work: Any, frame: Any) -> Any:
    """Call the function at an address with another address: both of `work_of`."""

    def code(context: Any, builder: Any, signature: Any, given: Any) -> Any:
        function = builder.inttoptr(given[0], _work.as_pointer())
        builder.call(function, [builder.inttoptr(given[1], _address)])
        return context.get_dummy_value()

    return types.void(types.int64, types.int64), code


NEXT, COUNT, EACH, FAILED, BEFORE, AFTER = range(6)
"""What a frame holds: where the next range begins, the end of all, the length of a range, whether
one failed for want of memory, and what a loop takes before and after its range."""


@intrinsic(prefer_literal=True)
def work_of(context: Any, name: Any, count: Any, each: Any, before: Any, after: Any) -> Any:
    """Return the addresses of a function and of its frame, by which threads share a loop's work.

    The function calls the loop for one range after the other that nobody has taken yet. The frame
    lives as long as the call of whoever asks.
    """
    loop, inner = resolved(context, name, before, after)
    given = (name, types.int64, types.int64, before, after)

    def code(context: Any, builder: Any, signature: Any, given: Any) -> Any:
        _, count, each, *values = given
        numbers = [_number] * BEFORE
        kinds = [context.get_value_type(each) for each in (before, after)]
        kind = ir.LiteralStructType([*numbers, *kinds])
        frame = cgutils.alloca_once(builder, kind)
        for place, value in enumerate((_number(0), count, each, _number(0), *values)):
            builder.store(value, cgutils.gep_inbounds(builder, frame, 0, place))
        unique = builder.module.get_unique_name("work")
        function = ir.Function(builder.module, _work, unique)
        function.linkage = "internal"
        _write(context, function, kind, loop, inner)
        addresses = [builder.ptrtoint(made, _number) for made in (function, frame)]
        return context.make_tuple(builder, signature.return_type, addresses)

    return types.UniTuple(types.int64, 2)(*given), code


def _write(context: Any, function: Any, kind: Any, loop: Any, inner: Any) -> None:
    """Write what a function of `work_of` does: a loop over ranges."""
    builder = ir.IRBuilder(function.append_basic_block())
    frame = builder.bitcast(function.args[0], kind.as_pointer())
    fields = [cgutils.gep_inbounds(builder, frame, 0, place) for place in range(len(kind))]
    count, each, before, after = (builder.load(fields[n]) for n in (COUNT, EACH, BEFORE, AFTER))
    again, work, over = (function.append_basic_block() for _ in range(3))
    builder.branch(again)
    builder.position_at_end(again)
    begin = builder.atomic_rmw("add", fields[NEXT], each, "seq_cst")
    builder.cbranch(builder.icmp_signed("<", begin, count), work, over)
    builder.position_at_end(work)
    stop = builder.add(begin, each)
    end = builder.select(builder.icmp_signed("<", stop, count), stop, count)
    context.add_linking_libs([loop.library])
    arguments = [*members(builder, before), begin, end, *members(builder, after)]
    status, _ = context.call_internal_no_propagate(builder, loop.fndesc, inner, arguments)
    with cgutils.if_unlikely(builder, status.is_error):
        builder.store(_number(1), fields[FAILED])
    builder.branch(again)
    builder.position_at_end(over)
    builder.ret_void()


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
            do(load(word + BYTES), load(word + 2 * BYTES))
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
    return exchange(word, ASKED) == ASLEEP


@compiled
def rest(word: int) -> bool:
    """Have a thread sleep, unless it has something to do; return whether it sleeps."""
    return change(word, WAITING, ASLEEP) or load(word) == ASLEEP


@compiled
def settle(word: int, asked: int) -> None:
    """Take back what a thread has not begun, or wait until it is done."""
    if not change(word, asked, WAITING):
        while load(word) == WORKING:
            pause()


@cache
def shared(loop: Any) -> Callable[..., bool]:
    """Return what runs a loop on several threads: see `threads.run_range`.

    It takes the words of threads that help, where they wait; the number of what there is to do, and
    how much of it at a time; and what the loop takes before and after. It returns whether all went
    well.
    """
    return _shared(name_of(loop))


def _shared(name: str) -> Callable[..., bool]:
    @compiled
    def run(words: Any, count: int, each: int, before: Any, after: Any) -> bool:
        work, frame = work_of(name, count, each, before, after)
        for n in range(len(words)):
            exchange(words[n] + BYTES, work)
            exchange(words[n] + 2 * BYTES, frame)
            change(words[n], WAITING, CALLED)
        do(work, frame)
        for n in range(len(words)):
            settle(words[n], CALLED)
        return load(frame + FAILED * BYTES) == 0

    made: Callable[..., bool] = run
    return made
