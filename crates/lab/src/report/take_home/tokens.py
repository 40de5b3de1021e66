def probabilities(given, checkpoint=CHECKPOINT):
    """Probability of each class, or of each token that may be next."""
    ids = encode(given)
    if not ids:
        sys.exit("give at least one token")
    if CAUSAL_NETWORK:
        ids = ids[-TIME:]
    elif PADDING is None and len(ids) < TIME:
        sys.exit(f"this network looks at all of {TIME} tokens: give as many, not {len(ids)}")
    elif len(ids) > TIME:
        sys.exit(f"this network takes up to {TIME} tokens, not {len(ids)}")
    network = Network()
    network.load_state_dict(load_file(checkpoint))
    network.eval()
    with torch.no_grad():
        logits = network(torch.tensor([ids]))[0]
        return (logits[-1] if EACH_POSITION else logits).softmax(-1).tolist()


if __name__ == "__main__":
    if len(sys.argv) not in (2, 3):
        sys.exit(f"usage: python3 predict.py {GIVEN} [CHECKPOINT]")
    # In either order: a checkpoint is what ends so.
    given, *checkpoint = sorted(sys.argv[1:], key=lambda argument: argument.endswith(".safetensors"))
    found = probabilities(given, *checkpoint)
    best = sorted(range(len(found)), key=lambda number: -found[number])[:5]
    print(f"{given!r}: " + ", ".join(f"{name(number)} {100 * found[number]:.1f} %" for number in best))
