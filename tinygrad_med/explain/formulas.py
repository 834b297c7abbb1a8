"""Formulas of docstrings as MathML: `z = 1 / (1 + e⁻ˣ), computed from …` becomes a fraction and a sentence.

Docstrings are written for the eye, in Unicode, with words where words are clearer. So this reads what stands there,
and does not guess: what is no mathematics stays text, between the formulas, and no character is lost.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Collection
from html import escape

FUNCTIONS = {"log", "exp", "sin", "cos", "tanh", "sign", "min", "max", "sigmoid"}
SHORT_WORDS = {"a", "an", "as", "at", "by", "in", "is", "it", "no", "of", "on", "or", "so", "to"}
OPEN, CLOSE = "([⌊⟨", ")]⌋⟩"
LARGE = "ΣΠ∫"

TOKEN = re.compile(
    r"(?P<code>`[^`]*`)"
    r"|(?P<number>\d+(?:\.\d+)?)"
    r"|(?P<scripts>[⁰¹²³⁴-ⁿ₀-ₜᵢⱼᵀʰ-ˣᵃ-ᵿᶜ-ᶿ]+)"
    r"|(?P<power>\^(?=\S))"
    r"|(?P<name>[^\W\d_ΣΠ](?:\w(?<![⁰¹²³⁴-ⁿ₀-ₜᵢⱼᵀʰ-ˣᵃ-ᵿᶜ-ᶿ])|[̀-ͯ])*)"
    r"|(?P<space>\s+)"
    r"|(?P<other>.)",
    re.DOTALL,
)


def to_html(text: str, names: Collection[str] = ()) -> str:
    """A formula with its words, as HTML.

    Args:
        text: as the docstring has it.
        names: of the operands: words that are mathematics.
    """
    tokens = [(match.lastgroup or "other", match[0]) for match in TOKEN.finditer(text)]
    html = ""
    formula: list[tuple[str, str]] = []
    for i, (kind, word) in enumerate([*tokens, ("end", "")]):
        if _is_prose(tokens, i, names):
            html += _math(formula) + (f"<code>{escape(word[1:-1])}</code>" if kind == "code" else escape(word))
            formula = []
        else:
            formula.append((kind, word))
    return html


def _is_prose(tokens: list[tuple[str, str]], i: int, names: Collection[str]) -> bool:
    """Whether a token is part of a sentence: a longer word that is no operand, function or factor."""
    kind, word = tokens[i] if i < len(tokens) else ("end", "")
    if kind != "name":
        return kind in ("code", "end")
    after, before = tokens[i + 1 :], tokens[:i][::-1]
    follows = after[0] if after else ("end", "")
    if word in names or word in FUNCTIONS or follows[0] == "scripts" or follows[1] == "(":
        return False
    beside = [next((w for k, w in side if k != "space"), "") for side in (before, after)]
    if any(w and w in "·−+/×" for w in beside):
        return False
    return len(unicodedata.normalize("NFC", word)) > 2 or word in SHORT_WORDS


# One formula --------------------------------------------------------------------------------------------------------


def _math(tokens: list[tuple[str, str]]) -> str:
    """The tokens between two words as one `<math>`, the spaces and the punctuation at its ends outside."""
    before = after = ""
    while tokens and (tokens[0][0] == "space" or tokens[0][1] in ",;:"):
        before += tokens.pop(0)[1]
    while tokens and (tokens[-1][0] == "space" or tokens[-1][1] in ",;:"):
        after = tokens.pop()[1] + after
    inner = _Reader(tokens).row() if tokens else ""
    return escape(before) + (f"<math>{inner}</math>" if inner else "") + escape(after)


class _Reader:
    """Reads tokens from left to right: a row of atoms, each with its scripts; `a / b` with spaces is a fraction."""

    def __init__(self, tokens: list[tuple[str, str]]) -> None:
        self.tokens, self.i = tokens, 0

    def _next(self) -> tuple[str, str]:
        return self.tokens[self.i] if self.i < len(self.tokens) else ("end", "")

    def row(self, end: str = "") -> str:
        """All up to the closing bracket `end`, or to the end."""
        parts: list[str] = []
        while self._next()[0] != "end" and not (end and self._next()[1] in end):
            following = "".join(word for _, word in self.tokens[self.i : self.i + 3])
            if self._next()[0] == "space":
                self.i += 1
            elif following.startswith("/ ") and parts and not parts[-1].startswith("<mo>"):
                self.i += 2
                parts[-1] = f"<mfrac>{_bare(parts[-1])}{_bare(self._denominator())}</mfrac>"
            else:
                parts.append(self.run())
        return "".join(parts)

    def _denominator(self) -> str:
        large = self._next()[1] in LARGE
        found = self.run()
        if large and self._next()[0] == "space":  # Σⱼ eˣⱼ belongs together
            self.i += 1
            found = f"<mrow>{found}{self.run()}</mrow>"
        return found

    def run(self) -> str:
        """What stands together without a space, such as `2z` or `log(1 + x)`; at least one atom."""
        atoms = [self.atom()]
        while self._next()[0] in ("name", "number") or self._next()[1] in (*OPEN, "√"):
            atoms.append(self.atom())
        return atoms[0] if len(atoms) == 1 else f"<mrow>{''.join(atoms)}</mrow>"

    def atom(self) -> str:
        """A name, a number, a bracket with all in it or an operator, with its scripts."""
        kind, word = self._next()
        self.i += 1
        if word in OPEN and kind == "other":
            inner, closing = self.row(CLOSE), self._next()[1]
            self.i += 1
            base = f"<mrow><mo>{word}</mo>{inner}{f'<mo>{closing}</mo>' if closing else ''}</mrow>"
        elif kind == "number":
            base = f"<mn>{word}</mn>"
        elif kind == "name":
            base = f"<mi>{escape(word)}</mi>"
        elif word == "√" and self._next()[0] not in ("end", "space"):
            return f"<msqrt>{_bare(self.atom())}</msqrt>"
        else:
            base = f"<mo>{escape(word)}</mo>"
        if self._next()[0] == "scripts":
            base = _with_scripts(base, self._next()[1])
            self.i += 1
        elif self._next()[0] == "power":
            self.i += 1
            parts = []
            while self._next()[0] not in ("end", "space") and self._next()[1] not in CLOSE:
                parts.append(self.atom())
            base = f"<msup>{base}<mrow>{''.join(parts)}</mrow></msup>"
        return base


def _with_scripts(base: str, scripts: str) -> str:
    """zᵢ and ∫₀ˣ; in eˣᵢ the index belongs to the exponent."""
    runs = re.findall(r"[₀-ₜᵢⱼ]+|[^₀-ₜᵢⱼ]+", scripts)
    rows = ["<mrow>" + "".join(_script(character) for character in run) + "</mrow>" for run in runs]
    low = [re.fullmatch(r"[₀-ₜᵢⱼ]+", run) is not None for run in runs]
    if low == [True, False]:
        return f"<msubsup>{base}{rows[0]}{rows[1]}</msubsup>"
    if low == [False, True]:
        return f"<msup>{base}<msub>{rows[0]}{rows[1]}</msub></msup>"
    for row, is_low in zip(rows, low, strict=True):
        base = f"<{'msub' if is_low else 'msup'}>{base}{row}</{'msub' if is_low else 'msup'}>"
    return base


def _script(character: str) -> str:
    plain = unicodedata.normalize("NFKD", character)
    tag = "mn" if plain.isdigit() else "mi" if plain.isalpha() else "mo"
    return f"<{tag}>{plain}</{tag}>"


def _bare(part: str) -> str:
    """Without the brackets that a fraction bar or a root makes unnecessary."""
    bracketed = re.fullmatch(r"<mrow><mo>\(</mo>(.*)<mo>\)</mo></mrow>", part, re.DOTALL)
    if bracketed and bracketed[1].count("<mo>(</mo>") == bracketed[1].count("<mo>)</mo>"):
        return f"<mrow>{bracketed[1]}</mrow>"
    return part
