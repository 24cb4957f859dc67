"""Where articles are kept; here a dict, in life a table."""

from dataclasses import dataclass
from datetime import datetime


@dataclass
class Article:
    """Something to read, from ``published_at`` on."""

    id: int
    title: str
    published_at: datetime | None = None


_articles: dict[int, Article] = {}


def save(article: Article) -> Article:
    """Keep an article."""
    _articles[article.id] = article
    return article


def get(article_id: int) -> Article:
    """Find an article."""
    return _articles[article_id]


def clear() -> None:
    """Forget them all."""
    _articles.clear()
