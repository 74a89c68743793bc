"""Random words, names and short phrases in many scripts; knows nothing of problems."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import random


def words(text: str) -> list[str]:
    """The words of `text`."""
    return text.split()


NAMES = words(
    "Ana Ben Carla Dmitri Eva Farid Grace Hugo Ines Jonas Kofi Lena Mina Noah Olga Pablo Rosa Sam Tara "
    "Uma Victor Wei Yara Zoe Amir Bella Chen Dora Emil Nadia Oscar Priya Ravi Sofia Tom Vera"
)

_WORDS = tuple(
    words(line)
    for line in (
        ("Paris London Berlin Madrid Oslo Lima Cairo Tokyo Boston Vienna Prague Lisbon Dublin Havana Quito Nairobi"),
        ("milk bread coffee garden music window silver river yellow doctor engine lemon paper bridge summer rocket"),
        "São-Paulo Zürich Málaga Kraków Tromsø café naïve Çeşme Łódź Reykjavík Ōsaka Besançon Örebro Nîmes",
        "Москва Киев София Минск Казань молоко привет книга музыка река город Анна Иван погода зима",
        "Αθήνα Πάτρα Κρήτη Θήβα Ελένη Νίκος γάλα βιβλίο μουσική ήλιος θάλασσα καφές νερό",
        "القاهرة دبي بيروت الرياض كتاب قهوة شمس ليلى مدينة موسيقى بغداد عمان",
        "ירושלים חיפה ספר קפה שלום מים לחם דנה",
        "दिल्ली मुंबई पानी किताब संगीत नमस्ते चाय राम",
        "北京 上海 广州 成都 牛奶 咖啡 音乐 你好 天气 图书馆 王小明 火车 生日快乐",
        "東京 大阪 京都 さくら ありがとう コーヒー ラーメン カメラ たなか すし おはよう",
        "서울 부산 안녕 커피 음악 책 김민수 제주도 우유",
        "กรุงเทพ เชียงใหม่ กาแฟ สวัสดี น้ำ หนังสือ",
        "😀 🎉 🚀 🌍 🍕 🐱 ❤️ 🎂 🌧️ 👍🏽 🎸 🔥 🦊 👩‍🚀",
    )
)

_RANGES = (
    (0x61, 0x7A),
    (0x61, 0x7A),
    (0x41, 0x5A),
    (0xE0, 0xF6),
    (0x100, 0x17F),
    (0x430, 0x44F),
    (0x410, 0x44F),
    (0x3B1, 0x3C9),
    (0x5D0, 0x5EA),
    (0x627, 0x64A),
    (0x905, 0x939),
    (0xE01, 0xE2E),
    (0x561, 0x586),
    (0x10D0, 0x10F0),
    (0x3041, 0x3096),
    (0x30A1, 0x30FA),
    (0x4E00, 0x9FA5),
    (0x4E00, 0x9FA5),
    (0xAC00, 0xD7A3),
    (0x1F300, 0x1F64F),
)
_CODE = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
_MAX_BYTES = 30


def word(rng: random.Random) -> str:
    """One word: real, made of random letters of one script, or a code such as a file name."""
    kind = rng.random()
    if kind < 0.45:
        return rng.choice(rng.choice(_WORDS))
    if kind < 0.9:
        return _random_word(rng)
    return _code(rng)


def value(rng: random.Random) -> str:
    """One to three words, at most 30 bytes of UTF-8."""
    chosen = [word(rng) for _ in range(rng.choice((1, 1, 1, 2, 2, 3)))]
    while len(chosen) > 1 and len(" ".join(chosen).encode()) > _MAX_BYTES:
        chosen.pop()
    return " ".join(chosen)


def name(rng: random.Random) -> str:
    """A person's name: half of the time from the Latin list, else a word in any script."""
    return rng.choice(NAMES) if rng.random() < 0.5 else word(rng)


def identifier(rng: random.Random) -> str:
    """A lower-case Latin identifier of random letters."""
    return "".join(rng.choice(_CODE[:26]) for _ in range(rng.randint(3, 8)))


def _random_word(rng: random.Random) -> str:
    low, high = rng.choice(_RANGES)
    longest = 8 if high < 0x900 else 5
    return "".join(chr(rng.randint(low, high)) for _ in range(rng.randint(2, longest)))


def _code(rng: random.Random) -> str:
    def part(low: int, high: int) -> str:
        return "".join(rng.choice(_CODE) for _ in range(rng.randint(low, high)))

    shape = rng.choice(("{}.txt", "{}@mail.com", "{}-{}", "{}_{}", "{}/{}", "{}"))
    return shape.format(part(2, 6), part(1, 3))
