"""What a function returns, as buffers of their own or as new content of its state."""

from __future__ import annotations

from atalla_mlir._mlir import ir
from atalla_mlir.codegen.iteration import Buffer, Stage
from atalla_mlir.codegen.row_updates import as_row_update
from atalla_mlir.errors import UnsupportedError
from atalla_mlir.kernels.stage_list import StageList
from atalla_mlir.kernels.state_results import state_results
from atalla_mlir.kernels.views import Splat, View, is_integer_tensor


class FunctionResults:
    """Reads the return operation of a function whose other operations are `out`."""

    def __init__(self, function: ir.Operation, out: StageList) -> None:
        self.function = function
        self.out = out

    def read(self, op: ir.Operation) -> None:
        state = state_results(self.function)
        found = {at: self._result(value, op) for at, value in enumerate(op.operands) if at not in state}
        taken = {view.buffer for view in found.values()} | {self.out.arguments[at].buffer for at in state.values()}
        for at, argument in state.items():
            found[at] = self._new_state(self._computed(op.operands[at]), self.out.arguments[argument], taken, op)
            taken.add(found[at].buffer)
        self.out.results.extend(found[at] for at in sorted(found))
        self._find_row_updates()

    def _find_row_updates(self) -> None:
        """Changes in place that are stores of rows take in the comparison that they choose by."""
        conditions: set[Stage] = set()
        for at, stage in enumerate(self.out.stages):
            for condition in self.out.stages[:at] if stage.changes_state else ():
                update = as_row_update(stage, condition)
                if update is not None:
                    self.out.stages[at] = update
                    conditions.add(condition)
                    break
        needed = {access.buffer for stage in self.out.stages for access in stage.reads}
        needed |= {view.buffer for view in self.out.results}
        kept = [at for at, s in enumerate(self.out.stages) if s not in conditions or s.write.buffer in needed]
        self.out.stages = [self.out.stages[at] for at in kept]
        self.out.stage_ops = [self.out.stage_ops[at] for at in kept]

    def _result(self, value: ir.Value, op: ir.Operation) -> View:
        """What the function returns as `value`: a buffer of its own."""
        view = self._computed(value)
        if (
            isinstance(view, View)
            and view.is_whole
            and not self.out.is_argument(view.buffer)
            and not view.buffer.is_counter
        ):
            return view
        return self.out.new_copy(view, is_integer_tensor(value.type), op)

    def _computed(self, value: ir.Value) -> View | Splat:
        found = self.out.values.get(value)
        if found is None:
            raise UnsupportedError(f"result of type {value.type} is not computed")
        return found

    def _new_state(self, source: View | Splat, state: View, taken: set[Buffer], op: ir.Operation) -> View:
        """The buffer that is to lie where `state` does: that of a stage which changes it in place, or a last copy.

        `taken` are the buffers that have a place already.
        """
        if source == state:
            return state
        if isinstance(source, View) and source.buffer in taken and self.out.is_argument(source.buffer):
            raise UnsupportedError("a buffer that becomes what another, or an element elsewhere in it, was before")
        if isinstance(source, View) and source.is_whole and source.buffer not in taken and not source.buffer.is_counter:
            writers = [stage for stage in self.out.stages if stage.write.buffer is source.buffer]
            readers = [s for s in self.out.stages if any(read.buffer is state.buffer for read in s.reads)]
            if len(writers) == 1 and writers[0].is_in_place(state.buffer) and readers in ([], writers):
                writers[0].changes_state = True
                return source
        target = self.out.new_copy(source, state.buffer.is_integer, op)
        self.out.stages[-1].changes_state = True
        return target
