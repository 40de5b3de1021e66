def tokenizer():
    """The file of the training, where it lay or beside this program."""
    beside = Path(__file__).with_name(Path(TOKENIZER).name)
    return Tokenizer.from_file(str(beside) if beside.is_file() else TOKENIZER)


def encode(text):
    return tokenizer().encode(text, add_special_tokens=False).ids


def name(number):
    return repr(tokenizer().decode([number], skip_special_tokens=False))


