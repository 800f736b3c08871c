"""Texts in any script: one plain form for comparing, and whether a text holds a value in another grammatical form.

`plain` removes differences of writing that never matter: width, case, native digits, and a missing blank between a
script without blanks and Latin letters or digits. `folded` also removes those that matter seldom: accents, Arabic and
Hebrew vowel signs, hiragana against katakana, traditional against simplified characters.

`Folded.holds` finds a value as a text of its language holds it. Scripts without blanks (Chinese, Japanese, Thai, Lao,
Khmer, Burmese) are searched for the characters in a row; Korean for a word that begins with the value, since particles
follow it; all others for a word that differs in its ending, clitics and articles only.

`Folded.is_of_another_script` says when a comparison decides nothing: a name that the text writes in another script may
be a transliteration or a translation.
"""

from __future__ import annotations

import re
import unicodedata
from bisect import bisect_right
from collections.abc import Iterable
from functools import cached_property, lru_cache

from funreason.agents.judges.rules.words import MOST_PARTS, WORD
from funreason.calls.marks import normalised

_RANGES = (
    (0x41, "latin"),
    (0x370, "greek"),
    (0x400, "cyrillic"),
    (0x530, "armenian"),
    (0x590, "hebrew"),
    (0x600, "arabic"),
    (0x700, "other"),
    (0x750, "arabic"),
    (0x780, "other"),
    (0x8A0, "arabic"),
    (0x900, "devanagari"),
    (0x980, "bengali"),
    (0xA00, "gurmukhi"),
    (0xA80, "gujarati"),
    (0xB00, "odia"),
    (0xB80, "tamil"),
    (0xC00, "telugu"),
    (0xC80, "kannada"),
    (0xD00, "malayalam"),
    (0xD80, "sinhala"),
    (0xE00, "thai"),
    (0xE80, "lao"),
    (0xF00, "tibetan"),
    (0x1000, "myanmar"),
    (0x10A0, "georgian"),
    (0x1100, "hangul"),
    (0x1200, "ethiopic"),
    (0x13A0, "other"),
    (0x1780, "khmer"),
    (0x1800, "other"),
    (0x1E00, "latin"),
    (0x1F00, "greek"),
    (0x2000, "other"),
    (0x3005, "han"),
    (0x3008, "other"),
    (0x3040, "kana"),
    (0x3100, "han"),
    (0x3130, "hangul"),
    (0x3190, "other"),
    (0x3400, "han"),
    (0xA000, "other"),
    (0xAC00, "hangul"),
    (0xD7B0, "other"),
    (0xF900, "han"),
    (0xFB00, "latin"),
    (0xFB1D, "hebrew"),
    (0xFB50, "arabic"),
    (0xFE00, "other"),
    (0xFE70, "arabic"),
    (0xFF00, "other"),
    (0x20000, "han"),
    (0x32000, "other"),
)
"""Where a script begins, as far as names are written in it; blocks between them belong to the one before."""
_STARTS = [start for start, _ in _RANGES]
_NO_BLANKS = r"\u0e01-\u0eff\u1000-\u109f\u1780-\u17ff\u3005-\u3007\u3040-\u30ff\u3400-\u9fff\uac00-\ud7a3\uf900-\ufaff"
_BLANKLESS = re.compile(f"[{_NO_BLANKS}]")
_HANGUL = re.compile("[\uac00-\ud7a3]")
_APART = re.compile(f"(?<=[{_NO_BLANKS}])(?=[a-z0-9]|[-−+$€£¥][0-9])|(?<=[a-z0-9])(?=[{_NO_BLANKS}])")
_MARKS = re.compile(
    "[\u0300-\u036f\u0591-\u05bd\u05bf-\u05c7\u0610-\u061a\u0640\u064b-\u065f\u0670\u200b-\u200f\u093c]"
)
_SMALL_MARKS = dict.fromkeys(map(ord, "\u200b\u200c\u200d\u200e\u200f\u2060\ufeff\u00ad"))
_SIGNS = str.maketrans({"№": "# ", "٪": "%", "٫": ".", "٬": ","})
"""What NFKC would join with a number, and the Arabic signs in numbers."""
_TRADITIONAL = (
    "東東車車長長門門馬馬鳥鳥魚魚"
    "愛爱罷罢備备貝贝筆笔幣币邊边變变標标賓宾補补參参倉仓層层產产場场車车陳陈塵尘稱称遲迟衝冲醜丑處处觸触從从達达帶带單单擔担當当黨党導导燈灯鄧邓點点電电東东動动隊队對对頓顿奪夺兒儿爾尔發发飛飞費费風风馮冯鳳凤婦妇復复蓋盖趕赶岡冈剛刚鋼钢個个給给"
    "鞏巩溝沟購购顧顾關关觀观館馆廣广歸归龜龟國国過过漢汉號号賀贺後后護护華华話话畫画懷怀壞坏歡欢環环還还會会機机雞鸡積积際际繼继濟济記记計计價价堅坚間间艱艰簡简見见建建將将漿浆講讲獎奖膠胶階阶節节潔洁結结緊紧進进經经驚惊競竞舊旧舉举劇剧據据覺觉"
    "開开塊块蘭兰藍蓝勞劳樂乐類类離离裡里裏里禮礼歷历曆历麗丽連连聯联練练糧粮兩两療疗遼辽臨临領领劉刘龍龙樓楼盧卢蘆芦陸陆錄录驢驴倫伦羅罗媽妈馬马買买賣卖滿满貓猫門门夢梦麵面廟庙滅灭難难腦脑鳥鸟寧宁農农歐欧鵬鹏貧贫憑凭蘋苹評评樸朴齊齐騎骑"
    "豈岂氣气遷迁錢钱槍枪強强橋桥喬乔親亲輕轻慶庆請请窮穷區区權权勸劝確确讓让熱热認认榮荣軟软銳锐賽赛傘伞喪丧掃扫殺杀曬晒傷伤賞赏燒烧紹绍設设審审聖圣師师時时實实識识視视試试書书術术樹树數数雙双說说絲丝鬆松蘇苏雖虽隨随歲岁孫孙損损臺台檯台談谈"
    "湯汤濤涛討讨題题體体條条鐵铁聽听廳厅頭头圖图團团灣湾萬万網网為为偉伟衛卫溫温聞闻問问烏乌無无吳吴務务誤误習习戲戏係系縣县現现線线憲宪鄉乡響响項项蕭萧銷销曉晓協协寫写謝谢興兴許许續续選选學学尋寻訊讯亞亚煙烟嚴严顏颜陽阳養养樣样藥药爺爷葉叶業业"
    "頁页醫医儀仪遺遗義义藝艺億亿異异陰阴銀银飲饮隱隐應应營营擁拥優优郵邮遊游魚鱼與与語语園园員员圓圆遠远願愿約约閱阅雲云運运雜杂載载暫暂臟脏則则責责擇择張张漲涨趙赵這这鎮镇陣阵爭争鄭郑證证織织職职執执紙纸製制質质種种眾众軸轴豬猪專专磚砖轉转莊庄裝装壯壮狀状準准資资總总縱纵組组"
    "週周來来飯饭館馆價价藥药廠厂夠够該该誰谁罵骂嗎吗廚厨櫃柜鍋锅鞋鞋広广沢泽浜滨辺边関关県县駅驿斎斋斉齐桜樱竜龙塩盐売卖円圆気气検检験验実实図图対对単单伝传読读鉄铁発发変变満满"
)
_FOLDS = str.maketrans(
    {_TRADITIONAL[at]: _TRADITIONAL[at + 1] for at in range(14, len(_TRADITIONAL) - 1, 2)}
    | {chr(code): chr(code - 0x60) for code in range(0x30A1, 0x30F7)}  # katakana to hiragana
    | dict(zip("أإآٱىیېئؤةکەہھۀ", "ااااييييوهكهههه", strict=True))
    | dict(zip("ıøłđðæœς", "iolddaoσ", strict=True))
    | {"\u0901": "\u0902", "\u30fc": ""}
)
_NASAL = re.compile("[ङञणनम]\u094d(?=[क-ह])")
_NOT_ALIKE = re.compile("ae|oe|ue")

_ENDINGS = {
    "cyrillic": re.compile(
        "[аеиоуыэюяійьї]{0,2}|ами|ями|ах|ях|ов|ев|ів|ей|ой|ом|ем|єм|ою|ею|ого|его|ому|ему|ым|им|ых|их|ыми|ими|ого|ією"
    ),
    "greek": re.compile("[αεηιουω]{0,2}|[αεηιουω]{1,3}σ|ι?ων|εσ|ουσ|ιου|εωσ|ματοσ|ματα"),
    "devanagari": re.compile("[\u093e-\u094c\u0902ए-औ]{0,2}|ियो\u0902|ियाँ|यो\u0902"),
    "latin": re.compile("[aeiouy]{0,2}|[a-z]{1,4}"),
    "other": re.compile(r"\w{0,5}|[^\x00-\x7f]{0,8}"),
}
"""What may follow a stem; a value's own ending must be one as well."""
_STEM_CUTS = {
    "cyrillic": "аеиоуыэюяійьї",
    "greek": "αεηιουωσ",
    "devanagari": "\u093e\u093f\u0940\u0947\u094b\u0902\u0948",
}
_CLITICS = {
    "arabic": re.compile("(?:[وف]?(?:[بك]?ال|لل|[بلك])|[وف])"),
    "hebrew": re.compile("[ושכ]?[הבלמ]|[ושכ]"),
}
_ARABIC_ARTICLE = re.compile("^ال(?=..)")
_ARABIC_ENDING = re.compile("(?<=...)(?:ها|هم|نا|ات|ين|ون|ان|ه|ي|ا|ك)$")
_CASE_LETTERS = frozenset("aeiouy")

_SUFFIXES = re.compile(
    "(?<=..)(?:特别行政区|自治区|自治州|市|省|县|区|州|镇|乡|村|都|府|道|国|站|驿|先生|女士|小姐|老师|さん|さま|様|样|氏|君|くん|ちゃん"
    "|시|도|군|구|역|씨|님|특별시|광역시)$"
)
_PREFIXES = re.compile("^(?:จังหวัด|เมือง|อำเภอ|กรุง|คุณ|นาย|นางสาว|นาง|ดร)(?=...)")
_FEW = 2
_LONG_STEM = 5
_MOST_ALIKE = 400
"""Of the words that begin alike, so many are compared."""
_PIECE, _NAME = 2, 3
_SHARES = ((7, 0.8), (60, 0.6), (MOST_PARTS, 0.3))
"""Up to so many characters of a value, so much of it must be made up of pieces."""
_BETWEEN = 3
_MOST_STEPS = 100_000
"""Words that are tried for one row of words; then it counts as not there."""
_NUMBERS = re.compile(r"\d+")


def plain(text: str) -> str:
    """The text in lower case with narrow letters and ASCII digits, and blanks around Latin in a script without blanks.

    ASCII text is only put in lower case.
    """
    if text.isascii():
        return text.lower()
    low = normalised("NFKC", text.translate(_SIGNS)).casefold().translate(_SMALL_MARKS)
    low = "".join(str(unicodedata.decimal(char)) if char > "\x7f" and char.isdecimal() else char for char in low)
    return apart(low)


def apart(low: str) -> str:
    """The text with a blank between a script without blanks and Latin letters or digits."""
    return _APART.sub(" ", low)


def folded(low: str) -> str:
    """A plain text without accents and vowel signs, with one spelling for letters that are often exchanged."""
    if low.isascii():
        return low
    apart = normalised("NFD", low)
    joined = normalised("NFC", _MARKS.sub("", apart))
    return _NASAL.sub("\u0902", joined.translate(_FOLDS))


def has_blankless(low: str) -> bool:
    """Whether there is a letter of a script without blanks, or of Korean, whose particles follow without one."""
    return _BLANKLESS.search(low) is not None


@lru_cache(maxsize=4096)
def script_of(char: str) -> str:
    """The script of a letter; "" for digits, marks that stand alone and everything below the letters."""
    if not (char.isalpha() or char in "\u0e31\u0e34\u0e38") or char.isdecimal():
        return ""
    return _RANGES[bisect_right(_STARTS, ord(char)) - 1][1]


def scripts_in(text: str) -> frozenset[str]:
    """The scripts of a text's letters."""
    return frozenset(map(script_of, set(text))) - {""}


class Folded:
    """A text prepared for tolerant questions; `inflects` allows case endings on Latin words too."""

    def __init__(self, low: str, *, inflects: bool = False) -> None:
        self.text = folded(low)
        self.inflects = inflects
        self.scripts = scripts_in(self.text)

    @cached_property
    def words(self) -> frozenset[str]:
        """Its words."""
        return frozenset(WORD.findall(self.text))

    @cached_property
    def squashed(self) -> str:
        """Its letters and digits in a row."""
        return "".join(WORD.findall(self.text))

    @cached_property
    def _numbers_apart(self) -> str:
        return numbers_apart(self.squashed)

    @cached_property
    def _only_latin(self) -> bool:
        """Whether it has no name in another script; a single letter, such as a Greek symbol, is none."""
        return sum(script_of(char) not in ("", "latin") for char in self.text) < _FEW

    def is_of_another_script(self, value: str) -> bool:
        """Whether a value's letters are of scripts that the text is not written in, so that no comparison decides.

        A text that has names in another script too may mean one of them by a Latin value. Kana and Han are one writing
        in a text that has both.
        """
        scripts = scripts_in(value)
        if not scripts or not self.scripts:
            return False
        if scripts == {"latin"}:
            return not self._only_latin
        if {"kana", "han"} <= self.scripts and scripts & {"kana", "han"}:
            return False
        return not (scripts - {"latin"}) & self.scripts

    @cached_property
    def _alike(self) -> dict[str, list[str]]:
        """Words by their first letters, those without clitics too; of very many that begin alike, some."""
        found: dict[str, list[str]] = {}
        for word in self.words:
            for form in {word, *_bare(word)}:
                group = found.setdefault(form[:_FEW], [])
                if len(group) < _MOST_ALIKE:
                    group.append(form)
        return found

    def holds(self, value: str) -> bool:
        """Whether the whole of a plain value is there, each of its words in some form."""
        low = folded(value)
        words = WORD.findall(low)[:MOST_PARTS]
        if not words:
            return low in self.text
        if not _BLANKLESS.search(low):
            return all(map(self.has_word, words))
        if self._has_row(words) or (len(words) > 1 and _HANGUL.search(low) and all(self._has_row([w]) for w in words)):
            return True
        for pattern in (_SUFFIXES, _PREFIXES):
            short = pattern.sub("", low)
            if short != low and len(short) >= _FEW and self._has_row(WORD.findall(short)):
                return True
        return False

    def covers(self, value: str) -> bool:
        """Whether pieces of the text make up most of a value in a script without blanks.

        A name of three characters must be there as a whole; a longer value may leave out the more, the longer it is.
        """
        low = "".join(WORD.findall(folded(value)))[:MOST_PARTS]
        spelled = scripts_in(low) - {"han", "hangul"}
        piece, unit = (_PIECE, 1) if not spelled else (_PIECE + 1, 1) if spelled == {"kana"} else (2 * _PIECE, 2)
        if len(low) <= _NAME * unit:
            return False
        at = done = 0
        while at + piece <= len(low):
            end = at + piece
            if low[at:end] not in self.squashed:
                at += 1
                continue
            while end < len(low) and low[at : end + 1] in self.squashed:
                end += 1
            done, at = done + end - at, end
        needed = next(share for most, share in _SHARES if len(low) <= most * unit)
        return done >= needed * len(low)

    def has_word(self, word: str) -> bool:
        """Whether the text has this folded word, or it with another ending, clitic or spelling of an umlaut."""
        if word in self.words:
            return True
        if any(char.isdecimal() for char in word):
            return False
        if word.isascii() or script_of(word[0]) == "latin":
            return self._has_latin(word)
        script = script_of(word[0])
        if script in _CLITICS:
            bare = {word, *_bare(word)}
            return any(form in self._alike.get(form[:_FEW], ()) for form in bare)
        if len(word) < _FEW:
            return False
        return any(same_stem(word, other, script) for other in self._alike.get(word[:_FEW], ()))

    def _has_latin(self, word: str) -> bool:
        short = _NOT_ALIKE.sub(lambda match: match[0][0], word)
        near = self._alike.get(word[:_FEW], []) + (self._alike.get(short[:_FEW], []) if short != word else [])
        for other in near:
            if len(word) >= _LONG_STEM and other.startswith(word) and self.inflects:  # a part of a compound
                return True
            if other == short or _NOT_ALIKE.sub(lambda match: match[0][0], other) == short:
                return True
            if {other, word} == {f"{min(other, word, key=len)}s", min(other, word, key=len)}:
                return True
            if self.inflects and same_stem(word, other, "latin"):
                return True
        return False

    def _has_row(self, words: list[str]) -> bool:
        """Whether the words are there in a row; a number to its end, a Korean word from its beginning."""
        squashed, text = "".join(words), self.text
        if not _HANGUL.match(squashed):
            return numbers_apart(squashed) in self._numbers_apart
        start, steps = text.find(words[0]), 0
        while start >= 0 and steps < _MOST_STEPS:
            steps += len(words)
            end = -1 if _HANGUL.match(text[start - 1 : start]) else row_end(text, start, words, _BETWEEN)
            if end >= 0 and not (
                len(squashed) == 1 and _HANGUL.match(text[end : end + 1]) and not _PARTICLE.match(text, end)
            ):
                return True
            start = text.find(words[0], start + 1)
        return False


def numbers_apart(squashed: str) -> str:
    """Letters and digits in a row with a mark on both sides of each number, so that no number is found within one."""
    return _NUMBERS.sub(lambda match: f"\0{match[0]}\0", squashed)


_PARTICLE = re.compile(
    "(?:은|는|이|가|을|를|의|에|에서|에게|한테|로|으로|와|과|랑|도|만|까지|부터|께|씨|님|명|개|시|번|$)"
)


def row_end(text: str, at: int, words: list[str], most_between: int) -> int:
    """Where the words end that follow each other from `at` on, few other signs between them; -1 if they do not."""
    at += len(words[0])
    for word in words[1:]:
        most = at + most_between
        while at < most and at < len(text) and not text[at].isalnum():
            at += 1
        if not text.startswith(word, at):
            return -1
        at += len(word)
    return at


def same_stem(one: str, other: str, script: str) -> bool:
    """Whether two folded words of a script differ only in what a language puts at a word's end."""
    endings, cuts = _ENDINGS.get(script, _ENDINGS["other"]), _STEM_CUTS.get(script, "")
    return any(
        form.startswith(stem) and endings.fullmatch(form, len(stem))
        for word, form in ((one, other), (other, one))
        for stem in _stems(word, script, cuts)
    )


def _stems(word: str, script: str, cuts: str) -> Iterable[str]:
    """The word, and it without one or two letters of an ending; the vowel that Slavic endings swallow is left out."""
    yield word
    if script == "latin":
        if len(word) >= 4 and word[-1] in _CASE_LETTERS:
            yield word[:-1]
        return
    for count in (1, 2):
        if len(word) - count >= _FEW and all(char in cuts for char in word[-count:]):
            yield word[:-count]
    if script == "cyrillic" and len(word) >= 4 and word[-2] in "еоё" and word[-1] not in cuts:
        yield word[:-2] + word[-1]
    if script == "cyrillic" and len(word) >= 4 and word[-2] == "і":  # Ukrainian Київ, Києва; Львів, Львова
        yield from (f"{word[:-2]}{vowel}{word[-1]}" for vowel in "оеє")
    if script not in _STEM_CUTS and len(word) >= 4:
        yield word[:-1]


def _bare(word: str) -> list[str]:
    """A word without the clitics that Arabic and Hebrew write onto it, and without an Arabic ending."""
    script = script_of(word[0])
    pattern = _CLITICS.get(script)
    if pattern is None:
        return []
    found = [word]
    match = pattern.match(word)
    if match and len(word) - match.end() >= _FEW:
        found.append(word[match.end() :])
    if script == "arabic":
        found += [_ARABIC_ARTICLE.sub("", form) for form in found]
        found += [_ARABIC_ENDING.sub("", form) for form in found]
    return [form for form in found if len(form) >= _FEW]
