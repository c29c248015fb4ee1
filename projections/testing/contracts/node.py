"""The suite of the port `Node`: `NodeContract`, to subclass with a constructor like `SourceContract`."""

from __future__ import annotations

from typing import Any

from eventstore.sources.adapter import REQUIRED
from projections.testing.contracts.script import ScriptedSource
from projections.testing.contracts.source import SHOP, SOLD, SourceContract


class NodeContract(SourceContract):
    """The same, and what the port `Node` adds: all that a chain of the configuration needs."""

    @staticmethod
    def node(stage: ScriptedSource) -> Any:
        return stage.source

    def test_a_node_has_all_that_the_stages_ask_for(self, stage: ScriptedSource) -> None:
        assert [name for name in REQUIRED if not hasattr(stage.source, name)] == []

    def test_a_node_has_a_name(self, stage: ScriptedSource) -> None:
        name = self.node(stage).name
        assert isinstance(name, str)
        assert name

    def test_calls_are_counted_by_method(self, stage: ScriptedSource) -> None:
        before = self.node(stage).requests.total()
        stage.source.head()
        counted = self.node(stage).requests
        assert counted.total() > before
        assert all(isinstance(method, str) for method in counted)

    def test_a_node_that_is_not_catching_up_does_not_say_so(self, stage: ScriptedSource) -> None:
        assert self.node(stage).syncing() is False

    def test_an_address_that_emitted_nothing_has_no_code(self, stage: ScriptedSource) -> None:
        stage.mine()
        assert self.node(stage).has_code(bytes([0xEE]) * 20, 1) is False

    def test_an_address_that_emits_has_code(self, stage: ScriptedSource) -> None:
        stage.mine()
        stage.emit(SHOP, [SOLD])
        stage.mine()
        assert self.node(stage).has_code(SHOP, 2) is True

    def test_a_node_may_be_closed_twice(self, stage: ScriptedSource) -> None:
        self.node(stage).close()
        self.node(stage).close()
