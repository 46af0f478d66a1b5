"""What is said when something of ours is broken."""

TEXTS: dict[str, dict[str, str]] = {
    "mishap": {
        "en": "Something went wrong on my side. It has been noted; please try again.",
        "ru": "У меня что-то сломалось. Ошибка записана; попробуйте, пожалуйста, ещё раз.",
    },
}
