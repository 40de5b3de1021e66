def encode(text):
    return list(text.encode())


def name(number):
    return repr(bytes([number]))


