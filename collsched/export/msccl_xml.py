"""MSCCL algorithm files: a program of thread blocks as XML.

The form is what the parsers of microsoft/msccl (src/graph/topo.cc), Azure/msccl-executor-nccl and ROCm/rccl
(src/misc/msccl/msccl_parser.cc) read: one tag a line, spaces, double quotes, no XML declaration. An `r` step repeats
where its sender reads, as public verifiers of such files expect; of an `rrc` step the source is the local operand.
"""

from __future__ import annotations

from collections.abc import Iterator

from collsched.ir.blocks import BlockProgram, Loader, Step

PROTOCOLS = ("Simple", "LL", "LL128")
NO_LIMIT = 1 << 40  # maxBytes: every size; 0 means none to microsoft/msccl


def xml(
    program: BlockProgram, loader: Loader, name: str, protocol: str = "Simple", sizes: tuple[int, int] = (0, NO_LIMIT)
) -> Iterator[str]:
    """The lines of the file. `sizes`: bytes of the smallest and largest buffer that the runtime shall use it for."""
    placement = program.placement
    kind = (
        loader.reduce_scatter
        if placement.kind == "reduce-scatter"
        else placement.kind.replace("all-to-all", "alltoall")
    )
    yield (
        f'<algo name="{name}" proto="{protocol}" nchannels="{program.channels}" nchunksperloop="{placement.units}" '
        f'ngpus="{placement.ranks}" coll="{kind}" inplace="{int(placement.in_place)}" '
        f'outofplace="{int(not placement.in_place)}" minBytes="{sizes[0]}" maxBytes="{sizes[1]}">\n'
    )
    for rank, blocks in enumerate(program.blocks):
        yield (
            f'  <gpu id="{rank}" i_chunks="{placement.input}" o_chunks="{placement.output}" '
            f's_chunks="{placement.scratch[rank]}">\n'
        )
        for number, block in enumerate(blocks):
            send, recv = (-1 if peer is None else peer for peer in (block.send, block.recv))
            yield f'    <tb id="{number}" send="{send}" recv="{recv}" chan="{block.channel}">\n'
            yield from (_step(position, step) for position, step in enumerate(block.steps))
            yield "    </tb>\n"
        yield "  </gpu>\n"
    yield "</algo>\n"


def _step(position: int, step: Step) -> str:
    block, before = step.after or (-1, -1)
    return (
        f'      <step s="{position}" type="{step.op}" srcbuf="{step.read.buffer}" srcoff="{step.read.offset}" '
        f'dstbuf="{step.write.buffer}" dstoff="{step.write.offset}" cnt="{step.units}" depid="{block}" deps="{before}" '
        f'hasdep="{int(step.awaited)}"/>\n'
    )
