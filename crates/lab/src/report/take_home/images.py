def units(checkpoint):
    """Mean and deviation of the pixels that a checkpoint's network sees: a guide may have its own for each channel."""
    with safe_open(checkpoint, "pt") as file:
        recipe = json.loads((file.metadata() or {}).get("recipe", "{}"))
    scale = recipe.get("input", {}).get("scale")
    if scale is None:
        return MEAN, DEVIATION
    return tuple(torch.tensor(scale[key]).reshape(1, CHANNELS, 1, 1) for key in ("mean", "std"))


def prepare(path, mean=MEAN, deviation=DEVIATION):
    """An image file as its training saw images: [1, channels, height, width]."""
    image = Image.open(path)
    if image.mode.startswith("I"):
        # 16 bits of gray, which `convert` would clip.
        gray = (np.asarray(image).astype(np.uint32) * 255 + 32767) // 65535
        image = Image.fromarray(gray.astype(np.uint8))
    image = image.convert("L" if CHANNELS == 1 else "RGB")
    side = min(image.size)
    left, top = (image.width - side) // 2, (image.height - side) // 2
    square = (left, top, left + side, top + side)
    image = image.resize((RESIZE, RESIZE), Image.Resampling.BILINEAR, box=square)
    left, top = (RESIZE - SIZE[1]) // 2, (RESIZE - SIZE[0]) // 2
    image = image.crop((left, top, left + SIZE[1], top + SIZE[0]))
    pixels = torch.from_numpy(np.array(image, dtype=np.float32) / 255)
    pixels = pixels.reshape(1, SIZE[0], SIZE[1], CHANNELS).permute(0, 3, 1, 2)
    return (pixels - mean) / deviation


def name(number):
    return CLASSES[number] if CLASSES else str(number)


def probabilities(path, checkpoint=CHECKPOINT):
    """Probability of each class of an image file."""
    network = Network()
    network.load_state_dict(load_file(checkpoint))
    network.eval()
    with torch.no_grad():
        return network(prepare(path, *units(checkpoint)))[0].softmax(-1).tolist()


if __name__ == "__main__":
    if len(sys.argv) not in (2, 3):
        sys.exit("usage: python3 predict.py IMAGE [CHECKPOINT]")
    # In either order: a checkpoint is what ends so.
    given, *checkpoint = sorted(sys.argv[1:], key=lambda argument: argument.endswith(".safetensors"))
    found = probabilities(given, *checkpoint)
    best = sorted(range(len(found)), key=lambda number: -found[number])[:5]
    print(f"{given}: " + ", ".join(f"{name(number)} {100 * found[number]:.1f} %" for number in best))
