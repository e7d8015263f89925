"""The tests that every way of running a language model passes, on one that writes gibberish."""

from __future__ import annotations

import dataclasses

import pytest
from PIL import Image

from teacher.engines.config import TeacherInvalid
from teacher.engines.writer import Writer, WritingRequest
from teacher.questions.candidates import read_reply, reply_schema
from teacher.questions.generation import Brief, generate, load_prompt

# Characters of random bytes in three fields, up to four bytes and so four tokens each.
LENGTH = 1500
REQUEST = WritingRequest(prompt="Write a question.", schema=reply_schema(1), length=LENGTH)


class WriterContract:
    """Subclasses give a fixture `writer` with the model of `text_model.py`."""

    def test_any_answer_parses(self, writer: Writer) -> None:
        for seed in range(2):
            reply = writer.write(dataclasses.replace(REQUEST, seed=seed))
            assert not reply.cut
            assert len(read_reply(reply.text)) == 1

    def test_another_seed_draws_another_answer(self, writer: Writer) -> None:
        first, again, other = (writer.write(dataclasses.replace(REQUEST, seed=seed)).text for seed in (1, 1, 2))
        assert first == again
        assert first != other

    def test_an_answer_that_is_cut_says_so(self, writer: Writer) -> None:
        assert writer.write(dataclasses.replace(REQUEST, length=20)).cut

    def test_a_text_only_model_is_asked_without_images(self, writer: Writer) -> None:
        images = [Image.new("RGB", (32, 32), "red")]
        reply = writer.write(dataclasses.replace(REQUEST, images=images))
        assert not reply.saw_images
        assert reply.text

    def test_a_prompt_that_is_too_long_is_refused_and_the_next_is_not(self, writer: Writer) -> None:
        with pytest.raises(TeacherInvalid, match="maximum context length") as caught:
            writer.write(dataclasses.replace(REQUEST, prompt="Write. " * 3000))
        assert "\n" not in str(caught.value)
        assert writer.write(REQUEST).text

    def test_gibberish_is_rejected_and_rounds_are_bounded(self, writer: Writer) -> None:
        rounds: list[tuple[int, int, int]] = []
        brief = Brief(
            classes=["fox", "cat"],
            wanted={"visual": 1},
            prompt=load_prompt(),
            rounds=2,
            length=3 * LENGTH,
        )
        generated = generate(writer, brief, lambda *counts: rounds.append(counts))
        assert generated.questions == []
        assert generated.missing == brief.wanted
        assert generated.requests == 2
        assert [rejection.group for rejection in generated.rejections] == ["visual"] * 6
        assert {rejection.reason for rejection in generated.rejections} == {"no yes/no question"}
        assert rounds == [(1, 0, 3), (2, 0, 6)]
