"""The captured graph as PyTorch sees it: nodes, shapes, users, where each comes from.

python examples/explore_graph.py
"""

from __future__ import annotations

from collections import Counter

from atalla_mlir import zoo
from atalla_mlir.frontend.capture import capture
from atalla_mlir.frontend.flops import flops


def main() -> None:
    model, inputs = zoo.build("attention", dim=64, length=32)
    captured = capture(model, inputs)

    print("operation         target                shape         users  FLOPs    made from")
    for node in captured.graph.nodes:
        if node.op == "call_function":
            shape = "x".join(map(str, node.meta["val"].shape))
            origin = f"{captured.originals[node.name]} at {captured.sources.get(node.name, '?')}"
            print(f"{node.name:17} {node.target!s:21} {shape:13} {len(node.users):5}  {flops(node):<7}  {origin}")

    counts = Counter(str(node.target) for node in captured.graph.nodes if node.op == "call_function")
    print("\n" + ", ".join(f"{count} {target}" for target, count in counts.most_common()))

    print("\nparameters and constants computed from them:")
    for name, value in captured.parameters.items():
        kind = "computed" if name in captured.constants else captured.targets[name]
        print(f"  {name:18} {tuple(value.shape)!s:12} {kind}")


if __name__ == "__main__":
    main()
