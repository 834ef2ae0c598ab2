"""Which outputs speak of one decision: by the configuration, and by what responses say."""

from __future__ import annotations

import numpy as np
import pytest
from google.protobuf import text_format

from inferd.compare.decisions import ranked_by, told_by
from inferd.compare.outputs import ARGMAX, NONE, RANKED, Rule
from inferd.protocol.inference import ModelConfig

RNG = np.random.default_rng(31)
SCORES = RNG.dirichlet(np.ones(3), size=60).astype(np.float32)
PLACES = SCORES.argmax(axis=1)
NAMES = np.array(["b", "c", "a"], object)


def responses(**outputs):
    """A response for each row."""
    return [{name: rows[number : number + 1] for name, rows in outputs.items()} for number in range(len(SCORES))]


def pairs(**outputs):
    """Each output that speaks of another's decision."""
    found = told_by(responses(**outputs), {}, {name: Rule() for name in outputs})
    return {name: rule.of for name, rule in found.items() if rule.of}


@pytest.mark.parametrize("labels", [PLACES, NAMES[PLACES], PLACES[:, None], PLACES + 5], ids=["places", "names", "a column", "numbers"])
def test_a_label_and_its_probabilities(labels) -> None:
    assert pairs(q=SCORES, z=labels) == {"q": "z"}


def test_a_label_beside_one_probability() -> None:
    assert pairs(p=SCORES[:, :1], label=SCORES[:, 0] >= 0.5) == {"p": "label"}


def test_few_exceptions_are_allowed() -> None:
    some = np.where(np.arange(60) < 2, (PLACES + 1) % 3, PLACES)
    many = np.where(np.arange(60) < 9, (PLACES + 1) % 3, PLACES)
    assert pairs(p=SCORES, label=some) == {"p": "label"}
    assert pairs(p=SCORES, label=many) == {}


def test_outputs_that_speak_of_different_things() -> None:
    other = RNG.integers(0, 3, 60)
    assert pairs(p=SCORES, other=other) == {}
    assert pairs(p=SCORES, constant=np.zeros(60, np.int64)) == {}
    assert pairs(label=RNG.integers(0, 2, 60), q=other) == {}
    assert pairs(y=RNG.normal(size=60).astype(np.float32), label=PLACES) == {}


def test_text_a_number_and_probabilities_of_one_decision() -> None:
    assert pairs(p=SCORES, index=PLACES, name=NAMES[PLACES]) == {"p": "name", "index": "name"}


def test_few_rows_and_rules_that_are_given() -> None:
    few = responses(p=SCORES, label=PLACES)[:5]
    assert told_by(few, {}) == {}
    rules = {"p": Rule(decide=NONE), "label": Rule()}
    assert told_by(responses(p=SCORES, label=PLACES), {}, rules) == rules


def test_ranks_of_a_graph() -> None:
    order = np.argsort(-SCORES, axis=1)[:, :2]
    found = told_by(responses(values=np.take_along_axis(SCORES, order, axis=1), places=order), {})
    assert found == {"places": Rule(decide=RANKED), "values": Rule(decide=ARGMAX, of="places")}


def test_several_labels_of_a_row_are_no_ranks() -> None:
    chances = RNG.uniform(size=(60, 3)).astype(np.float32)
    found = told_by(responses(p=chances, labels=(chances > 0.5).astype(np.int64)), {})
    assert all(rule.decide != RANKED for rule in found.values())


def test_the_step_top_k() -> None:
    text = 'inferd { postprocess { output: "logits" name: "class" steps { softmax {} } steps { top_k { k: 3 labels: "l.txt" } } } }'
    config = text_format.Parse(text, ModelConfig())
    found = ranked_by(config, ["class", "class_index", "class_label", "other"])
    assert found == {
        "class_label": Rule(decide=RANKED),
        "class_index": Rule(decide=RANKED, of="class_label"),
        "class": Rule(decide=ARGMAX, of="class_label"),
    }
    given = {"class_label": Rule(decide=NONE)}
    assert ranked_by(config, ["class_label"], given) == given
    assert ranked_by(None, ["class"]) == {}
