def encode(text):
    """Token ids with spaces between them."""
    return [int(number) for number in text.split()]


def name(number):
    return str(number)


