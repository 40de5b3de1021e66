def encode(text):
    return [CHARACTERS.index(character) for character in text]


def name(number):
    return repr(CHARACTERS[number])


