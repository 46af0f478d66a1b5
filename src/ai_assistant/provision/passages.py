"""The texts by which precisions are measured and calibrated: prose, dialogue, instructions and code, written for this purpose."""

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
    "Dear Mrs Okafor,\n\nThank you for your letter of 3 March. We have checked the invoice and you are right: the "
    "second delivery was charged twice. We will pay back 148.50 euros within the next five working days. "
    "Please accept our apologies for the trouble this has caused. If the money has not reached your account "
    "by the 20th, call me at any time between nine and five.\n\nYours sincerely,\nPaul Lindqvist\nCustomer accounts",
    "Question: A train leaves at 14:20 and travels 210 kilometres at an average speed of 84 kilometres per hour. "
    "When does it arrive?\n"
    "Answer: The journey takes 210 / 84 = 2.5 hours, which is 2 hours and 30 minutes. 14:20 plus 2 hours and "
    "30 minutes is 16:50, so the train arrives at 16:50.\n\n"
    "Question: A shop lowers the price of a coat from 120 to 90 euros. By how many per cent is that?\n"
    "Answer: The price falls by 30 euros. 30 / 120 = 0.25, so the coat is 25 per cent cheaper.",
    "SELECT customers.name, COUNT(orders.id) AS number_of_orders\n"
    "FROM customers\n"
    "LEFT JOIN orders ON orders.customer_id = customers.id\n"
    "WHERE customers.country = 'NL'\n"
    "GROUP BY customers.name\n"
    "HAVING COUNT(orders.id) > 3\n"
    "ORDER BY number_of_orders DESC;\n"
    "-- An index on orders.customer_id keeps this fast: without it the database reads the whole table for "
    "every customer, which nobody notices with a hundred orders and everybody with a million.",
    "User: Can you suggest a simple dinner for four people, without meat?\n"
    "Assistant: Of course! How about a vegetable curry with rice? You need two onions, three carrots, a "
    "cauliflower, a tin of chickpeas, a tin of coconut milk and two spoons of curry paste. Fry the onions until "
    "they are soft, add the paste and stir for a minute, then add the vegetables, the chickpeas and the coconut "
    "milk. Let it simmer for twenty minutes. Serve it with rice and, if you like, some fresh coriander.\n"
    "User: One of us does not like coconut.\n"
    "Assistant: No problem. Use chopped tomatoes instead of the coconut milk, and stir in some yoghurt at the "
    "end to make it mild and creamy.",
    "The bridge had been closed for two years when the council finally agreed on what to do with it. The "
    "engineers wanted to pull it down; the merchants on the south bank wanted it opened the next day, cracks or "
    "no cracks. In the end a third plan won, which pleased nobody and worked well: the old arches stayed and "
    "carried a path for people on foot, and a plain steel bridge for cars was built fifty metres upstream. On "
    "the first Sunday in May half the town walked across, ate pancakes on the other side and walked back.",
    "Summary of the meeting on Tuesday\n"
    "- The new version is delayed by one week, because two tests still fail on older telephones.\n"
    "- Marta will write to the three customers who wait for it, and offer them a preview.\n"
    "- The budget for translations has been approved: German and Spanish first, Polish in autumn.\n"
    "- Nobody was sure who owns the help pages. Jonas asks around and reports on Friday.\n"
    "- Next meeting: Tuesday at 10:30, in the small room on the second floor.",
)

# Other texts than those above: what a quantisation was fitted to says little about how good it is.
CALIBRATION_PASSAGES = (
    "My neighbour keeps bees at the end of her garden. In spring she checks the hives every week, counts the frames and "
    "writes down how much honey the colony has left. A weak colony is joined with a strong one before the frost returns; a "
    "strong one is divided in May, so that it does not swarm.",
    "system\nYou are a helpful assistant.\nuser\nHow do I boil an egg?\nassistant\nPlace the egg in a pot, cover it with "
    "water, and bring the water to a boil. Turn off the heat, cover and wait 9 to 12 minutes, then cool it in ice water.",
    "Here is a function that adds up a list:\n```python\ndef total(numbers):\n    result = 0\n    for number in numbers:\n"
    "        result += number\n    return result\n```\nIt returns 0 for an empty list.",
    "The treaty was signed in 1648 and ended thirty years of war. Its 128 articles settled borders, religion and trade; some "
    "of them were still quoted in court two hundred years later. No party, it says in § 5, may close the river to others.",
    "1. Open the settings page.\n2. Choose *Network* and then **Advanced**.\n3. Enter the address `192.168.0.1` and the port "
    "8080.\n4. Press Save; the device restarts in about 20 seconds.",
    "Where were you last night? I waited until ten, then I went home. - I am sorry, the bus broke down and my phone was dead. "
    "Can we try again on Thursday? - Fine, but this time you pay for the tickets!",
)
