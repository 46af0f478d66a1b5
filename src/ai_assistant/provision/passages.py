"""The text on which accuracy is measured: prose, dialogue, instructions and code, written for this purpose."""

PASSAGES = (
    "The harbour woke slowly that morning. A grey fog lay over the water, and the boats at the far pier "
    "were no more than shapes. Anna unlocked the office, put the kettle on and looked at the list of "
    "arrivals. Three ships were expected before noon: a coaster with timber, a small tanker and the "
    "weekly ferry. The ferry was late again. She called the pilot station, and a tired voice told her "
    "that the wind outside was worse than the forecast had promised. By ten o'clock the fog had lifted, "
    "the first lorries stood in a line along the quay, and nobody remembered how quiet it had been an "
    "hour before.",
    "User: What is the difference between a virus and a bacterium?\n"
    "Assistant: A bacterium is a living cell. It can feed, grow and divide on its own, and most bacteria "
    "do us no harm; many are useful. A virus is much smaller and is not a cell at all: it carries "
    "genetic material in a shell of protein and can multiply only inside the cells of another organism. "
    "Antibiotics work against bacteria, but not against viruses. Vaccines can protect against both.\n"
    "User: So antibiotics do not help with a cold?\n"
    "Assistant: That is right. Colds are caused by viruses, so antibiotics do not make them shorter. "
    "Rest, enough to drink and patience are the best treatment.",
    "How to repair a flat tyre on a bicycle:\n"
    "1. Turn the bicycle upside down and take out the wheel.\n"
    "2. Let the rest of the air out and lift the tyre over the rim with two levers.\n"
    "3. Pull out the inner tube, pump it up a little and look for the hole. If you cannot see it, hold "
    "the tube under water and watch for bubbles.\n"
    "4. Dry the place, roughen it with sandpaper and spread a thin layer of glue.\n"
    "5. Wait five minutes, then press the patch on firmly.\n"
    "6. Check the inside of the tyre for glass before you put everything together.",
    "def moving_average(values, window):\n"
    '    """Return the average of each run of `window` values."""\n'
    "    if window < 1:\n"
    '        raise ValueError("window must be at least 1")\n'
    "    total = sum(values[:window])\n"
    "    averages = [total / window]\n"
    "    for index in range(window, len(values)):\n"
    "        total += values[index] - values[index - window]\n"
    "        averages.append(total / window)\n"
    "    return averages\n"
    "\n"
    "\n"
    "print(moving_average([1, 2, 3, 4, 5, 6], 3))\n",
    "Light from the Sun needs a little more than eight minutes to reach the Earth. On its way it crosses "
    "about 150 million kilometres of almost empty space. The energy it carries was set free in the core "
    "of the Sun long before: there, hydrogen nuclei join to form helium, and a small part of their mass "
    "turns into radiation. It takes many thousands of years until that radiation has worked its way to "
    "the surface. What we see in the evening sky is therefore, in a sense, very old light, even though "
    "its last journey was short.",
)
