"""Looked-up rows multiplied along DNA, as machine code that LLVM makes for the processor at hand.

What PyTorch needs a pass of memory for, at each step, stays in registers here. One position of DNA takes two rows
for each word, one of either strand's table: their products, the larger of the two strands', its maximum and its
sum over the bin. A call runs outside Python's lock, so that threads do not wait for each other.
"""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from functools import cache
from typing import Any

import torch
from torch import Tensor

# Rows begin at a multiple of as many bytes.
ALIGNED = 64

_HEAD = """
define void @scan(ptr noalias readonly %words, ptr noalias readonly %tables,
                  ptr noalias %best, ptr noalias %total, i64 %bin, i64 %bins) #0 {{
entry:
  br label %each_bin
each_bin:
  %number = phi i64 [0, %entry], [%next_number, %bin_done]
  %first = mul i64 %number, %bin
  %end = add i64 %first, %bin
  br label %each_site
each_site:
  %at = phi i64 [%first, %each_bin], [%next_at, %each_site]
  %most = phi {row} [zeroinitializer, %each_bin], [%next_most, %each_site]
  %sum = phi {row} [zeroinitializer, %each_bin], [%next_sum, %each_site]
"""
_LOOK_UP = """
  %place{n} = add nsw i64 %at, {start}
  %where{n} = getelementptr i32, ptr %words, i64 %place{n}
  %word{n} = load i32, ptr %where{n}, align 4
  %wide{n} = zext i32 %word{n} to i64
  %entry{n} = add nsw i64 %wide{n}, {table}
  %offset{n} = mul nsw i64 %entry{n}, {lanes}
  %row{n} = getelementptr float, ptr %tables, i64 %offset{n}
  %found{n} = load {row}, ptr %row{n}, align {aligned}
"""
_TAIL = """
  %other_is_less = fcmp ogt {row} {one}, {other}
  %site = select <{lanes} x i1> %other_is_less, {row} {one}, {row} {other}
  %is_best = fcmp ogt {row} %site, %most
  %next_most = select <{lanes} x i1> %is_best, {row} %site, {row} %most
  %next_sum = fadd {row} %sum, %site
  %next_at = add nsw i64 %at, 1
  %within = icmp slt i64 %next_at, %end
  br i1 %within, label %each_site, label %bin_done
bin_done:
  %out = mul i64 %number, {lanes}
  %to_best = getelementptr float, ptr %best, i64 %out
  %to_total = getelementptr float, ptr %total, i64 %out
  store {row} %next_most, ptr %to_best, align 4
  store {row} %next_sum, ptr %to_total, align 4
  %next_number = add nsw i64 %number, 1
  %again = icmp slt i64 %next_number, %bins
  br i1 %again, label %each_bin, label %done
done:
  ret void
}}
attributes #0 = {{ nounwind "prefer-vector-width"="512" "min-legal-vector-width"="512" }}
"""


class Products:
    """The function for tables of one shape.

    Parameters
    ----------
    strands
        For either strand, where its words begin, in bp from a site's position; each has a table, in this order.
    entries
        Rows of a table.
    lanes
        Floats of a row.
    """

    def __init__(self, strands: Sequence[Sequence[int]], entries: int, lanes: int) -> None:
        self._engine = _machine_code(_source(strands, entries, lanes))
        kinds = [ctypes.c_void_p] * 4 + [ctypes.c_int64] * 2
        self._call = ctypes.CFUNCTYPE(None, *kinds)(self._engine.get_function_address("scan"))
        self.lanes = lanes

    def __call__(self, words: Tensor, first: int, tables: Tensor, bin: int, bins: int) -> tuple[Tensor, Tensor]:
        """Largest and sum of each bin's products, float32 (bins, lanes) each.

        Parameters
        ----------
        words
            Numbers of words, int32, contiguous; those of all sites must be there.
        first
            Where in it the first site's position is.
        tables
            Positive float32 (2 * words * entries, lanes), as `aligned` gives them.
        bin, bins
            Sites of a bin; bins, one after the other.
        """
        best, total = torch.empty(2, bins, self.lanes)
        start = words.data_ptr() + first * words.element_size()
        self._call(start, tables.data_ptr(), best.data_ptr(), total.data_ptr(), bin, bins)
        return best, total


@cache
def products(strands: tuple[tuple[int, ...], tuple[int, ...]], entries: int, lanes: int) -> Products:
    """`Products`, made once for each shape."""
    return Products(strands, entries, lanes)


def aligned(values: Tensor) -> Tensor:
    """A float32 copy that begins at a multiple of `ALIGNED` bytes."""
    spare = torch.empty(values.numel() + ALIGNED // 4)
    low = -spare.data_ptr() % ALIGNED // 4
    out = spare[low : low + values.numel()].view(values.shape)
    return out.copy_(values)


def _source(strands: Sequence[Sequence[int]], entries: int, lanes: int) -> str:
    """LLVM's assembly language."""
    about = {"row": f"<{lanes} x float>", "lanes": lanes, "aligned": ALIGNED}
    parts, made, number = [_HEAD.format(**about)], [], 0
    for starts in strands:
        so_far = ""
        for start in starts:
            parts.append(_LOOK_UP.format(n=number, start=start, table=number * entries, **about))
            if so_far:
                parts.append(f"  %product{number} = fmul {about['row']} {so_far}, %found{number}\n")
            so_far = f"%product{number}" if so_far else f"%found{number}"
            number += 1
        made.append(so_far)
    parts.append(_TAIL.format(one=made[0], other=made[1], **about))
    return "".join(parts)


def _machine_code(source: str) -> Any:
    import llvmlite.binding as llvm

    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    module = llvm.parse_assembly(source)
    module.verify()
    features = llvm.get_host_cpu_features().flatten()
    machine = llvm.Target.from_default_triple().create_target_machine(
        cpu=llvm.get_host_cpu_name(), features=features
    )
    engine = llvm.create_mcjit_compiler(module, machine)
    engine.finalize_object()
    return engine
