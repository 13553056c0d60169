"""What a reader of the counts of a file of pairs might overlook."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator

import numpy as np

from bvrank.records import Mode
from bvrank.sampling.facts import NAMES, Facts, beyond, reason, share
from bvrank.sampling.pipeline import ModeCount
from bvrank.sampling.selection import CUT

VERSIONS = re.compile(r"([-@:_](\d{3,8}|\d{4}-\d\d(-\d\d)?|latest))?")  # -0613, -001, -2024-08-06
MUCH = 0.02  # share of responses whose loss is remarked on


def remarks(facts: Facts) -> Iterator[str]:
    """What a reader of the counts might overlook."""
    wanted = facts.prompts * (facts.n or 0)
    yield from _compared(facts)
    yield from _surveyed(facts)
    yield from _answering(facts)
    for mode, count in facts.counts.items():
        if count.responses < wanted:
            again = " A smaller sampler.max_failed asks for them again."
            yield (f"{wanted - count.responses:,} of {wanted:,} {NAMES[mode]} responses "
                   f"(n={facts.n} to each prompt) are not there."
                   f"{again if count.left_out['failed'] else ''}")  # fmt: skip
        lost = sum(count.left_out[name] for name in CUT)
        if count.responses and lost / count.responses > MUCH:
            mend = f" A larger {facts.limit} mends that." if facts.limit else ""
            what = "ran out of tokens" if facts.limit else "never finished"
            yield (f"{share(lost, count.responses)} of the {NAMES[mode]} responses {what} "
                   f"and are left out{_lengths_of(count)}: the pairs show shorter ones "
                   f"than the policy gives.{mend}")  # fmt: skip
        ended = count.left_out["unclosed"]
        if count.responses and ended / count.responses > MUCH:
            yield (f"{share(ended, count.responses)} of the {NAMES[mode]} responses ended by "
                   "themselves inside the thinking, without an answer, and are left out: the pairs "
                   "show none of what the policy does there. More tokens change nothing; a lower "
                   "temperature may.")  # fmt: skip
        if mode == "nothinking" and count.left_out["thought"]:
            yield (f"{share(count.left_out['thought'], count.responses)} of the NoThinking "
                   "responses thought all the same and are left out: the template or the server "
                   "has another switch (template.empty_block, "
                   "sampler.server.nothinking_body).")  # fmt: skip
        if mode == "thinking" and count.responses and count.traced < count.responses / 2:
            yield (f"{share(count.responses - count.traced, count.responses)} of the Thinking "
                   "responses have no trace: for these the view full is no other than the view "
                   "bare.")  # fmt: skip
        if count.responses and count.repeated / count.responses > 0.2:
            yield (f"{share(count.repeated, count.responses)} of the {NAMES[mode]} responses say "
                   "what an earlier one says; a higher temperature makes them differ.")  # fmt: skip
        yield from _selected(mode, count)
        ties = count.without["tie"]
        if ties and ties > count.pairs:
            yield (f"{ties:,} {NAMES[mode]} prompts give no pair for equal scores, more than give "
                   "one: the pairs come from prompts on which the policy wavers.")  # fmt: skip
        silent = sum(count.unscored.values())
        if count.responses and silent / count.responses > MUCH:
            why = ", ".join(f"{n:,} {reason(name)}" for name, n in count.unscored.most_common())
            yield (f"{share(silent, count.responses)} of the {NAMES[mode]} responses have no "
                   f"score and are left out ({why}).")  # fmt: skip
    yield from _one_sided(facts)


def _one_sided(facts: Facts) -> Iterator[str]:
    """A mode that was asked for and gave no pair, beside one that did."""
    none = [NAMES[mode] for mode, count in facts.counts.items() if not count.pairs]
    if none and len(none) < len(facts.counts):
        yield (f"No {none[0]} pair came about: objective=bvpo has one of its two views only, and "
               "what is said above of these responses is why.")  # fmt: skip


def _surveyed(facts: Facts) -> Iterator[str]:
    """What of a file of responses was not taken."""
    if (survey := facts.survey) is None:
        return
    if further := beyond(facts):
        yield (f"{further:,} recorded response{' is' if further == 1 else 's are'} beyond "
               f"n={facts.n} of their prompts and left out; n={survey.most} takes all, as n=null "
               "does.")  # fmt: skip
    if (other := survey.others) and survey.limited:
        yield f"{other:,} recorded rows belong to no prompt within prompts.limit and are left out."
    elif other:
        told = "response answers none of the prompts and is" if other == 1 else (
            "responses answer none of the prompts and are")  # fmt: skip
        yield (f"{other:,} recorded {told} left out (sampler.prompt_column and sampler.system say "
               "how theirs read).")  # fmt: skip
    if facts.n is None and (none := facts.prompts - len(survey.taken)):
        yield f"{none:,} of {facts.prompts:,} prompts {'has' if none == 1 else 'have'} no response."


def _answering(facts: Facts) -> Iterator[str]:
    """Servers that answered as several models, or as another one than was asked for."""
    names = sum((count.models for count in facts.counts.values()), Counter[str]())
    if len(names) > 1:
        told = ", ".join(f"{name} {n:,}" for name, n in names.most_common())
        yield (f"The server answered as {len(names)} models ({told}): the responses are not all of "
               "one policy.")  # fmt: skip
    elif names and facts.model is not None and not one_model(facts.model, *names):
        (name,) = names
        yield f"The server was asked for {facts.model} and answered as {name}."


def one_model(asked: str, answered: str) -> bool:
    """Whether two names may well be of one model: they are equal but for capitals, folders in front
    and a date or version behind."""
    short, long = sorted((n.rstrip("/").rpartition("/")[2].lower() for n in (asked, answered)),
                         key=len)  # fmt: skip
    return long.startswith(short) and bool(VERSIONS.fullmatch(long.removeprefix(short)))


def _selected(mode: Mode, count: ModeCount) -> Iterator[str]:
    """Where the selection shows other traces than the policy gives."""
    if count.cut:
        yield (f"{count.cut:,} of {count.pairs:,} {NAMES[mode]} pairs have a side that was cut off "
               "(select.unfinished=keep): to train on it teaches to end there.")  # fmt: skip
    if whole := count.without["unfinished"]:
        yield (f"{whole:,} {NAMES[mode]} prompts are left out altogether for a response that did "
               "not finish (select.unfinished=drop_prompt): the pairs come from prompts that need "
               "less.")  # fmt: skip
    if dropped := count.left_out["duplicate"]:
        yield (f"{share(dropped, count.responses)} of the {NAMES[mode]} responses repeat an "
               "earlier one and are left out (select.duplicates=drop): what the policy says often "
               "weighs no more than what it says once.")  # fmt: skip
    silent = count.left_out["no_answer"]
    if count.responses and silent / count.responses > MUCH:
        yield (f"{share(silent, count.responses)} of the {NAMES[mode]} responses have no answer "
               "behind the thinking and are left out.")  # fmt: skip


def _compared(facts: Facts) -> Iterator[str]:
    """Modes of which the comparison with the scorer says little."""
    if facts.agreement is None:
        return
    for mode, (compared, respelled, unfinished) in facts.agreement.modes.items():
        if not compared:
            yield (f"No {NAMES[mode]} response could be compared with the scorer ({respelled} come "
                   f"back as other tokens, {unfinished} are unfinished): whether template and "
                   "masks are those of sampling was not seen.")  # fmt: skip
        elif respelled > compared:
            yield (f"{respelled} of {respelled + compared} {NAMES[mode]} responses come back as "
                   "other tokens than were drawn: perhaps the template is not the one that was "
                   "sampled from.")  # fmt: skip


def _lengths_of(count: ModeCount) -> str:
    if not count.tokens or not count.lost_tokens:
        return ""
    kept, lost = np.mean(count.tokens), np.mean(count.lost_tokens)
    return f" (they have {lost:,.0f} tokens on average, the others {kept:,.0f})"
