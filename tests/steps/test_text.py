"""Texts become what Hugging Face's tokenizers make of each of them alone; whatever cannot, fails by itself and says why."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

from inferd.errors import Cancelled, ConfigError, DeadlineExceeded, InvalidArgument, RequestError
from inferd.protocol import options
from inferd.steps import text as text_module
from inferd.steps.pipeline import EntryPlace, PadAxis, TensorType
from inferd.steps.text import compile_text

SPECIAL = ["[UNK]", "[PAD]", "[CLS]", "[SEP]"]
CORPUS = [
    "the quick brown fox jumps over the lazy dog",
    "pack my box with five dozen liquor jugs",
    "naïve café, déjà vu: 北京 and 東京!",
    "how vexingly quick daft zebras jump; 1234567890 times?",
]
INT64 = TensorType("INT64", (-1,))
BERT = {"input_ids": INT64, "attention_mask": INT64, "token_type_ids": INT64}
WHERE = "config.toml of model 'm': preprocess[0] 'text'"
# What breaks text code: joined emoji, combining marks, right-to-left, control characters, the tokenizer's own words.
ODD = ["", " ", "\n\t", "[SEP] [PAD]", "👩‍👩‍👧‍👦 family", "e\u0301\u0323\u0323", "\u202eabc", "a\x00b\x07", "ﬁ Å ß İ", "\U0010ffff", "½x²"]
TEXTS = st.one_of(st.sampled_from([*CORPUS, *ODD]), st.text(max_size=60))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Holds bert.json, which pads and cuts by itself as many do; bytes.json, without special tokens; words.json, which fails on words."""
    folder = tmp_path_factory.mktemp("tokenizers")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TOKENIZERS_PARALLELISM", "false")  # training starts no threads
        bert().save(str(folder / "bert.json"))
        byte_level().save(str(folder / "bytes.json"))
    words = Tokenizer(models.WordLevel({"one": 0, "two": 1}, unk_token="[UNK]"))  # [UNK] is not there
    words.pre_tokenizer = pre_tokenizers.Whitespace()
    words.save(str(folder / "words.json"))
    (folder / "broken.json").write_text('{"version": "1.0"')
    (folder / "other.json").write_text('{"label": "cat"}')
    return folder


def bert() -> Tokenizer:
    tokenizer = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.train_from_iterator(CORPUS, trainers.WordPieceTrainer(vocab_size=120, special_tokens=SPECIAL, show_progress=False))
    ends = [(token, tokenizer.token_to_id(token)) for token in ("[CLS]", "[SEP]")]
    tokenizer.post_processor = processors.TemplateProcessing(single="[CLS]:0 $A:0 [SEP]:1", pair=None, special_tokens=ends)
    tokenizer.enable_padding(pad_id=1, pad_type_id=3, pad_token="[PAD]", length=24)
    tokenizer.enable_truncation(24)
    return tokenizer


def byte_level() -> Tokenizer:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    tokenizer.train_from_iterator(CORPUS, trainers.BpeTrainer(vocab_size=300, initial_alphabet=alphabet, show_progress=False))
    return tokenizer


def compiled(folder, free=BERT, **tokenize):
    tokenize.setdefault("file", "bert.json")
    entry = options.Preprocess(name="text", steps=[options.Step(tokenize=options.Tokenize(**tokenize))])
    return compile_text(entry, EntryPlace(WHERE, free, (folder,)))


def request_of(*texts):
    """One request's values: text as str or bytes."""
    return [[memoryview(text if isinstance(text, bytes) else text.encode()) for text in texts]]


def unwatched(place: int) -> None:
    """A check of requests that all have time."""


def prepared(pipeline, *texts):
    (arrays,) = pipeline.prepare([request_of(*texts)], unwatched)
    assert not isinstance(arrays, RequestError), arrays
    return dict(zip([name for name, _ in pipeline.outputs], arrays, strict=True))


def rejection(pipeline, *texts) -> str:
    (error,) = pipeline.prepare([request_of(*texts)], unwatched)
    assert isinstance(error, InvalidArgument)
    assert error.reason == "bad_content"
    assert error.__traceback__ is error.__context__ is None  # which would hold what was made so far
    return str(error)


class Alone:
    """The oracle: the library, asked for one text at a time, cutting by itself and padding nothing."""

    def __init__(self, folder: Path, max_tokens: int, file: str = "bert.json") -> None:
        self.tokenizer = Tokenizer.from_file(str(folder / file))
        self.tokenizer.no_padding()
        self.tokenizer.enable_truncation(max_tokens)

    def empty(self, text) -> bool:
        """Whether all tokens of the text are the tokenizer's own."""
        return all(self.tokenizer.encode(text).special_tokens_mask)

    def arrays(self, texts, length: int | None = None, pads=(1, 0, 3)):
        found = [self.tokenizer.encode(text) for text in texts]
        length = length or max(len(one.ids) for one in found)
        parts = zip(("ids", "attention_mask", "type_ids"), pads, strict=True)
        return [np.array([getattr(one, part) + [pad] * (length - len(one.ids)) for one in found], np.int64) for part, pad in parts]


def assert_equal(arrays, expected) -> None:
    assert len(arrays) == len(expected)
    for array, other in zip(arrays, expected, strict=True):
        np.testing.assert_array_equal(array, other, strict=True)
        assert array.flags.c_contiguous


# ---- what comes out


def test_what_it_takes_and_feeds(folder) -> None:
    pipeline = compiled(folder)
    assert pipeline.inputs == (("text", TensorType("BYTES", (1,))),)
    assert pipeline.outputs == tuple(BERT.items())
    assert pipeline.paddings == {"input_ids": PadAxis(0, 1), "attention_mask": PadAxis(0, 0), "token_type_ids": PadAxis(0, 3)}
    assert pipeline.together > 1
    unnamed = options.Preprocess(steps=[options.Step(tokenize=options.Tokenize(file="bert.json"))])
    assert compile_text(unnamed, EntryPlace(WHERE, BERT, (folder,))).inputs == pipeline.inputs


def test_rows_are_padded_to_the_longest_of_their_own_request(folder) -> None:
    requests = [request_of(*CORPUS), request_of("fox"), request_of("quick fox", "dog")]
    answers = compiled(folder).prepare(requests, unwatched)
    alone = Alone(folder, 24)
    for arrays, texts in zip(answers, (CORPUS, ["fox"], ["quick fox", "dog"]), strict=True):
        assert_equal(arrays, alone.arrays(texts))


@settings(max_examples=60, deadline=None)
@given(requests=st.lists(st.lists(TEXTS, min_size=1, max_size=5), min_size=1, max_size=6), max_tokens=st.sampled_from([3, 7, 24]))
def test_any_text_is_what_the_library_makes_of_it_alone(folder, requests, max_tokens) -> None:
    answers = compiled(folder, max_tokens=max_tokens).prepare([request_of(*texts) for texts in requests], unwatched)
    alone = Alone(folder, max_tokens)
    for arrays, texts in zip(answers, requests, strict=True):
        if any(map(alone.empty, texts)):
            assert "without any token of its own" in str(arrays)
        else:
            assert_equal(arrays, alone.arrays(texts))


@settings(max_examples=40, deadline=None)
@given(texts=st.lists(TEXTS.filter(bool), min_size=1, max_size=8))
def test_bytes_of_any_text_are_tokens(folder, texts) -> None:
    """Another kind of tokenizer, into INT32, and the mask alone beside the ids."""
    int32 = TensorType("INT32", (-1,))
    answers = compiled(folder, {"attention_mask": int32, "input_ids": int32}, file="bytes.json").prepare([request_of(*texts)], unwatched)
    expected = Alone(folder, 512, "bytes.json").arrays(texts, pads=(0, 0, 0))[:2]
    assert_equal(answers[0], [array.astype(np.int32) for array in expected])


def test_no_requests_and_no_rows(folder) -> None:
    assert compiled(folder).prepare([], unwatched) == []
    assert [array.shape for array in compiled(folder).prepare([[[]]], unwatched)[0]] == [(0, 1)] * 3


def test_inputs_of_other_names(folder) -> None:
    free = {"tokens": INT64, "there": INT64, "image": TensorType("FP32", (3, 8, 8))}
    pipeline = compiled(folder, free, input_ids="tokens", attention_mask="there")
    assert [name for name, _ in pipeline.outputs] == ["tokens", "there"]
    assert_equal(prepared(pipeline, "fox").values(), Alone(folder, 24).arrays(["fox"])[:2])


def test_the_file_says_how_many_tokens_and_the_step_overrules_it(folder) -> None:
    long = " ".join(CORPUS)
    assert prepared(compiled(folder), long)["input_ids"].shape == (1, 24)
    assert prepared(compiled(folder, max_tokens=40), long)["input_ids"].shape == (1, 40)
    assert prepared(compiled(folder, file="bytes.json"), "x y " * 600)["input_ids"].shape == (1, text_module.DEFAULT_MAX_TOKENS)


def test_a_file_that_keeps_the_end_of_a_text(folder, tmp_path: Path) -> None:
    tokenizer = bert()
    tokenizer.enable_truncation(5, direction="left")
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    tokenizer.no_padding()
    ids = prepared(compiled(tmp_path, file=""), CORPUS[0])["input_ids"]
    assert ids[0].tolist() == tokenizer.encode(CORPUS[0]).ids


def test_the_padding_is_that_of_the_file_or_a_token_that_is_known(folder, tmp_path: Path) -> None:
    tokenizer = bert()
    tokenizer.no_padding()
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    assert compiled(tmp_path, file="").paddings["input_ids"].value == tokenizer.token_to_id("[PAD]")
    assert compiled(folder, file="bytes.json").paddings["input_ids"].value == 0


# ---- sizes that are fixed


FIXED = dict.fromkeys(BERT, TensorType("INT64", (16,)))


def test_a_graph_of_one_length_is_filled_up_to_it(folder) -> None:
    pipeline = compiled(folder, FIXED)
    assert pipeline.paddings == {}
    assert pipeline.outputs == tuple(FIXED.items())
    texts = ["fox", CORPUS[2]]
    assert_equal(prepared(pipeline, *texts).values(), Alone(folder, 16).arrays(texts, 16))


def test_a_fixed_length_and_a_free_one_are_the_fixed_one(folder) -> None:
    pipeline = compiled(folder, {**FIXED, "attention_mask": INT64})
    assert {kind.shape for _, kind in pipeline.outputs} == {(16,)}


def test_a_file_that_pads_on_the_left(folder, tmp_path: Path) -> None:
    tokenizer = bert()
    tokenizer.enable_padding(direction="left", pad_id=1, pad_type_id=3)
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    pipeline = compiled(tmp_path, file="")
    pads = {"input_ids": 1, "attention_mask": 0, "token_type_ids": 3}
    assert pipeline.paddings == {name: PadAxis(0, pad, left=True) for name, pad in pads.items()}
    texts = ["quick fox", CORPUS[0], "dog"]
    encodings = tokenizer.encode_batch(texts)  # pads to the longest
    expected = [np.array([getattr(one, part) for one in encodings]) for part in ("ids", "attention_mask", "type_ids")]
    assert expected[1][0][0] == 0
    assert_equal(prepared(pipeline, *texts).values(), expected)


def test_a_file_that_pads_on_the_left_does_so_where_the_length_is_fixed(folder, tmp_path: Path) -> None:
    tokenizer = bert()
    tokenizer.enable_padding(direction="left", pad_id=1, pad_type_id=3, length=16)
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    arrays = prepared(compiled(tmp_path, FIXED, file=""), "quick fox")
    encoding = tokenizer.encode("quick fox")
    assert arrays["input_ids"][0].tolist() == encoding.ids
    assert arrays["attention_mask"][0].tolist() == encoding.attention_mask
    assert arrays["token_type_ids"][0].tolist() == encoding.type_ids


def test_buckets_are_for_the_batch(folder) -> None:
    pipeline = compiled(folder, buckets=[8, 16])
    assert pipeline.paddings["attention_mask"] == PadAxis(0, 0, (8, 16, 24))  # up to max_tokens, for the longest
    assert prepared(pipeline, "fox")["input_ids"].shape == prepared(compiled(folder), "fox")["input_ids"].shape
    assert compiled(folder, buckets=[24]).paddings["input_ids"].buckets == (24,)


def test_the_configuration_says_how_many_tokens_there_can_be(folder) -> None:
    entry = options.Preprocess(steps=[options.Step(tokenize=options.Tokenize(file="bert.json"))])
    compile_text(entry, EntryPlace(WHERE, BERT, (folder,)))
    assert entry.steps[0].tokenize.max_tokens == 24, "for the answer of the ModelConfig RPC"


# ---- what is rejected


def test_text_that_is_not_utf8(folder) -> None:
    why = rejection(compiled(folder), "fine", b"caf\xe9 au lait")
    assert why == "input 'text', row 1: expected text in UTF-8, got byte 0xe9 at position 3: encode the text as UTF-8"
    assert "byte 0xed at position 0" in rejection(compiled(folder), "\ud800".encode("utf-8", "surrogatepass"))


@pytest.mark.parametrize("text", ["", " ", "\n\t", "\x00\x07"])
def test_text_without_tokens_of_its_own(folder, text) -> None:
    why = "input 'text', row 1: expected text, got one without any token of its own: send at least one word"
    assert rejection(compiled(folder), "fox", text) == why
    assert rejection(compiled(folder, FIXED, truncate=False), "fox", text) == why


def test_spaces_are_tokens_of_some_tokenizers(folder) -> None:
    pipeline = compiled(folder, file="bytes.json")
    assert "row 0: expected text, got one without any token" in rejection(pipeline, "")
    assert prepared(pipeline, " ")["input_ids"].shape == (1, 1)


def test_the_tokenizers_own_words_are_tokens(folder) -> None:
    assert prepared(compiled(folder), "[SEP]")["input_ids"].shape == (1, 3)


def test_text_over_the_limit_where_nothing_is_cut(folder) -> None:
    pipeline = compiled(folder, truncate=False, max_tokens=10)
    count = len(Alone(folder, 1000).tokenizer.encode(CORPUS[1]).ids)
    assert f"row 1: expected at most 10 tokens, got {count}: send a shorter text" in rejection(pipeline, "fox", CORPUS[1])
    assert prepared(compiled(folder, truncate=False, max_tokens=count), CORPUS[1])["input_ids"].shape == (1, count)


@pytest.mark.parametrize("truncate", [True, False])
def test_text_of_megabytes_is_rejected_unread(folder, truncate) -> None:
    pipeline = compiled(folder, truncate=truncate)
    assert f"expected at most {64 << 10} bytes of text, got {4 << 20}" in rejection(pipeline, b"\xff" * (4 << 20))
    assert prepared(compiled(folder), b"a" * (64 << 10))["input_ids"].shape[0] == 1
    longer = prepared(compiled(folder, max_tokens=8192), "a " * (60 << 10))
    assert longer["input_ids"].shape == (1, 8192)


def test_text_that_the_tokenizer_fails_on(folder) -> None:
    pipeline = compiled(folder, {"input_ids": INT64}, file="words.json")
    texts = [["one two"], ["two", "three"], ["two one two"]]
    first, error, last = pipeline.prepare([request_of(*each) for each in texts], unwatched)
    assert "row 1: the tokenizer cannot encode this text" in str(error)
    assert "UNK" not in str(error)  # nothing of the library's own words
    assert_equal([*first, *last], [np.array([[0, 1]]), np.array([[1, 0, 1]])])


def test_bad_requests_leave_the_others_as_they_are(folder) -> None:
    pipeline = compiled(folder, truncate=False)
    bad = {1: [b"\xff"], 3: ["fox", " ".join(CORPUS)], 4: ["x" * (65 << 10)], 6: ["fox", "dog", b"\xc3"]}
    texts = [bad.get(place, [CORPUS[place % 4][:30], "fox"]) for place in range(8)]
    answers = pipeline.prepare([request_of(*each) for each in texts], unwatched)
    alone = Alone(folder, 24)
    for place, answer in enumerate(answers):
        if place in bad:
            assert isinstance(answer, InvalidArgument)
        else:
            assert_equal(answer, alone.arrays(texts[place]))


# ---- who is still waiting


def test_requests_that_nobody_waits_for_are_not_encoded(folder) -> None:
    asked: list[int] = []

    def check(place: int) -> None:
        asked.append(place)
        if place == 1:
            raise Cancelled("gone")
        if place == 2:
            raise DeadlineExceeded("late")

    answers = compiled(folder).prepare([request_of("fox", "dog") for _ in range(4)], check)
    assert asked == [0, 1, 2, 3]
    assert [type(answer) for answer in answers] == [list, Cancelled, DeadlineExceeded, list]


def test_a_long_request_is_checked_in_between(folder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(text_module, "CALL_BYTES", 100)
    asked: list[int] = []
    texts = CORPUS * 3
    answers = compiled(folder).prepare([request_of("fox"), request_of(*texts), request_of("dog")], asked.append)
    assert asked == sorted(asked)
    assert asked.count(1) > 2
    alone = Alone(folder, 24)
    for answer, each in zip(answers, (["fox"], texts, ["dog"]), strict=True):
        assert_equal(answer, alone.arrays(each))

    def check(place: int) -> None:
        asked.append(place)
        if place == 1 and asked.count(1) == 2:
            raise DeadlineExceeded("late")

    asked.clear()
    first, late, last = compiled(folder).prepare([request_of("fox"), request_of(*texts), request_of("dog")], check)
    assert isinstance(late, DeadlineExceeded)
    assert asked.count(1) == 2  # not asked for again
    assert_equal([*first, *last], [*alone.arrays(["fox"]), *alone.arrays(["dog"])])


def test_two_threads_at_once(folder) -> None:
    pipeline = compiled(folder)
    alone = Alone(folder, 24)
    groups = [CORPUS, [text[::-1] for text in CORPUS]]
    expected = [alone.arrays(texts) for texts in groups]
    failures: list[BaseException] = []

    def ask(texts, arrays) -> None:
        try:
            for _ in range(50):
                (answer,) = pipeline.prepare([request_of(*texts)], unwatched)
                assert_equal(answer, arrays)
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=ask, args=pair) for pair in zip(groups, expected, strict=True)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=60)
    assert not failures
    assert not any(thread.is_alive() for thread in threads)


def test_no_threads_of_the_library_and_forks_without_a_word(folder) -> None:
    """The library would start one thread a core, and a child that was forked off would hang in its first call."""
    program = """
import os, sys
from pathlib import Path
from inferd.protocol import options
from inferd.steps.pipeline import EntryPlace, TensorType
from inferd.steps.text import compile_text

tokenize = options.Tokenize(file="bert.json")
place = EntryPlace("m", {"input_ids": TensorType("INT64", (-1,))}, (Path(sys.argv[1]),))
pipeline = compile_text(options.Preprocess(steps=[options.Step(tokenize=tokenize)]), place)
requests = [[[memoryview(b"the quick brown fox")] * 64]] * 4
before = len(os.listdir("/proc/self/task")) if os.path.exists("/proc/self/task") else 0
pipeline.prepare(requests, lambda place: None)
after = len(os.listdir("/proc/self/task")) if before else 0
child = os.fork()
if child == 0:
    os._exit(len(pipeline.prepare(requests, lambda place: None)))
print(after - before, os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""
    command = [sys.executable, "-W", "ignore::DeprecationWarning", "-c", program, str(folder)]  # numpy's threads, which a fork ends
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert (done.stdout, done.stderr) == ("0 4\n", "")


# ---- configurations that are wrong


@pytest.mark.parametrize(
    ("tokenize", "free", "why"),
    [
        ({"file": "none.json"}, BERT, "there is no file 'none.json'"),
        ({"file": "../bert.json"}, BERT, "must lie in the model's folder"),
        ({"file": "broken.json"}, BERT, "file 'broken.json' is not what Hugging Face's tokenizers writes (EOF"),
        ({"file": "other.json"}, BERT, "file 'other.json' is not what"),
        ({}, {"x": INT64}, "input_ids: 'input_ids' is none of the graph's tensors: name one of 'x' INT64[-1]"),
        ({"attention_mask": "mask"}, BERT, "attention_mask: 'mask' is none of the graph's tensors"),
        ({"attention_mask": "input_ids"}, BERT, "'input_ids' is named for two of"),
        ({}, {"input_ids": TensorType("FP32", (-1,))}, "'input_ids' takes FP32[-1]; it must take INT64 or INT32"),
        ({}, {"input_ids": TensorType("INT64", (-1, -1))}, "'input_ids' takes INT64[-1,-1]"),
        ({}, {**BERT, "position_ids": INT64}, "nothing feeds the graph's input 'position_ids' INT64[-1]"),
        ({}, {**BERT, "input_ids": TensorType("INT64", (8,)), "attention_mask": TensorType("INT64", (9,))}, "must have the same size"),
        ({"max_tokens": 17}, FIXED, "max_tokens is 17, and the graph takes 16 tokens"),
        ({"max_tokens": 2}, BERT, "max_tokens is 2, of which the tokenizer's own are 2: set it to 3 or more"),
        ({"buckets": [16, 8]}, BERT, "buckets are [16, 8]; they must be rising"),
        ({"buckets": [8, 8]}, BERT, "must be rising"),
        ({"buckets": [0, 8]}, BERT, "must be rising, from 1 on"),
        ({"buckets": [8, 32]}, BERT, "buckets: 32 is more than max_tokens, 24"),
        ({"buckets": [8]}, FIXED, "buckets: the graph takes 16 tokens, always"),
    ],
)
def test_wrong_steps_are_named(folder, tokenize, free, why) -> None:
    with pytest.raises(ConfigError, match=re.escape(why)) as caught:
        compiled(folder, free, **tokenize)
    assert str(caught.value).startswith(f"{WHERE}: steps[0] (tokenize): ")
    assert str(folder) not in str(caught.value)


def test_wrong_entries_are_named(folder) -> None:
    tokenize = options.Step(tokenize=options.Tokenize(file="bert.json"))
    place = EntryPlace(WHERE, BERT, (folder,))
    cast = options.Step(cast=options.Cast(datatype="INT32"))
    with pytest.raises(ConfigError, match=r"steps\[1\] \(cast\): nothing can follow tokenize"):
        compile_text(options.Preprocess(steps=[tokenize, cast]), place)
    with pytest.raises(ConfigError, match=r"\(tokenize\): input_ids: 'input_ids' is that of preprocess\[0\] already, and has one entry"):
        compile_text(options.Preprocess(steps=[tokenize]), EntryPlace(WHERE, {}, (folder,), taken=dict.fromkeys(BERT, "preprocess[0]")))
    with pytest.raises(ConfigError, match=r"steps\[0\] \(cast\): text begins with tokenize"):
        compile_text(options.Preprocess(steps=[cast]), place)
    with pytest.raises(ConfigError, match="input is 'input_ids'; tokenize feeds several inputs"):
        compile_text(options.Preprocess(input="input_ids", steps=[tokenize]), place)


def test_the_library_is_not_installed(folder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tokenizers", None)
    with pytest.raises(ConfigError, match=re.escape("pip install 'inferd[text]'")):
        compiled(folder)


def test_a_file_that_names_what_is_not_there(folder, tmp_path: Path) -> None:
    broken = json.loads((folder / "bert.json").read_text())
    broken["model"]["type"] = "Unheard"
    (tmp_path / "tokenizer.json").write_text(json.dumps(broken))
    with pytest.raises(ConfigError, match=r"file 'tokenizer\.json' is not what"):
        compiled(tmp_path, file="")
