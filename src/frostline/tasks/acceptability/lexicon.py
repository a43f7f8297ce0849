"""The vocabulary: words as data, in classes from which any member makes a plausible filling."""

from __future__ import annotations

from frostline.tasks.acceptability.words import couples, forms, listed, nouns, verbs

PEOPLE = nouns(
    "pilot lawyer doctor nurse teacher student farmer baker painter singer dancer writer judge soldier sailor driver "
    "banker barber butcher carpenter chef clerk coach dentist editor engineer gardener guard guest inspector "
    "journalist librarian manager mechanic merchant minister musician officer passenger photographer plumber poet "
    "porter priest professor referee reporter scientist surgeon tailor tourist translator visitor violinist designer "
    "architect athlete customer director actor captain detective"
)
MEN = nouns(
    "king prince uncle boy waiter monk grandfather duke nephew gentleman/gentlemen widower father brother man/men "
    "host stepfather"
)
WOMEN = nouns(
    "queen princess aunt girl waitress nun grandmother duchess niece lady widow mother sister woman/women "
    "hostess stepmother"
)
FOLK = tuple(noun for couple in couples(MEN, WOMEN) for noun in couple)
FOLK_FORMS = forms(FOLK)
COUPLES = couples(MEN, WOMEN)
MALE_NAMES = listed("John Peter Thomas Daniel Oscar Victor Simon Martin Henry David")
FEMALE_NAMES = listed("Mary Alice Emma Laura Helen Clara Nora Julia Ruth Diana")
NAMES = MALE_NAMES + FEMALE_NAMES

THINGS = nouns(
    "box lamp chair basket bottle brush bucket camera candle carpet clock coat cup curtain desk drum guitar hammer hat "
    "helmet jacket jar kettle knife/knives ladder letter map mirror necklace notebook painting parcel pen phone pillow "
    "plate radio ring rope shirt shovel spoon statue suitcase sword telescope ticket towel toy umbrella vase violin "
    "wallet watch whistle bowl blanket bag key coin"
)
COUNT_AND_MASS = couples(
    nouns(
        "egg coin apple potato/potatoes carrot cake onion tomato/tomatoes lemon bean candle brick tool chair suitcase "
        "shirt letter pebble flower sausage olive pancake hammer magazine"
    ),
    listed(
        "bread money fruit rice cheese butter garlic flour sugar salt soap sand equipment furniture luggage clothing "
        "mail gravel grass meat oil honey machinery information"
    ),
)
PLACES = tuple(
    f"{preposition} the {place}"
    for preposition, places in {
        "in": "garden kitchen park library museum courtyard office village hallway cafeteria",
        "at": "station market airport hotel school bakery zoo",
        "on": "beach balcony bridge train terrace platform",
    }.items()
    for place in places.split()
)
SITES = listed("garden kitchen park library museum courtyard office village hallway station market hotel school")
CRIMES = listed("theft crime murder robbery fraud burglary lie attack")

# Strictly intransitive: an object after any of these is out, and so is a passive.
INTRANSITIVE = verbs(
    "smile laugh cough sneeze yawn giggle shiver tremble faint snore blush complain hesitate weep/wept/wept "
    "sob/sobbed/sobbed/sobbing linger limp frown grin/grinned/grinned/grinning sigh stumble doze chuckle shudder sulk "
    "wince sleep/slept/slept stutter"
)
# Events between people. None can leave its object out.
TRANSITIVE = verbs(
    "praise blame insult thank betray comfort rescue greet accompany ignore scold mock encourage invite punish reward "
    "flatter frighten amuse embarrass congratulate escort dismiss summon startle outwit/outwitted/outwitted/outwitting "
    "deceive mislead/misled/misled"
)
REFLEXIVE = verbs(
    "blame insult comfort praise encourage punish reward flatter amuse embarrass deceive describe defend "
    "hurt/hurt/hurt injure photograph introduce protect"
)
# What people do to things. None can leave its object out.
HANDLING = verbs(
    "mention describe destroy repair discard obtain keep/kept/kept find/found/found damage touch fix carry acquire "
    "replace ruin conceal misplace retrieve remove restore ignore"
)
# None of these takes two objects (keep and find do), nor an adjective after its object (keep it clean, find it clean).
PLAIN_HANDLING = verbs("mention describe destroy damage touch discard inspect misplace repair")
# These go with food as well as with tools.
SHOPPING = verbs("buy/bought/bought find/found/found obtain keep/kept/kept purchase discard bring/brought/brought")
# Followed by `that` as well as by a question.
EMBEDDING = verbs("know/knew/known discover remember forget/forgot/forgotten recall reveal guess")
PARTICLE_VERBS = tuple(
    tuple(entry.split("/"))
    for entry in listed(
        "picked/up threw/away put/down gave/back handed/over wrote/down took/out tied/up cut/down sent/back tore/up "
        "locked/up put/away brought/back wrapped/up folded/up"
    )
)

MANNER = listed(
    "carefully quietly quickly secretly calmly silently hastily openly finally eventually proudly discreetly"
)
# Adverbs that go with whatever people do, even sneeze.
NEUTRAL = listed("secretly openly quietly repeatedly frequently constantly silently often")
TIMES = ("yesterday", "last week", "at noon", "after lunch", "before dinner", "on Monday", "this morning", "last night")
FREQUENCY = listed("often usually sometimes rarely always frequently seldom normally occasionally")
RELATIONS = ("near", "behind", "beside", "opposite", "next to", "in front of")
MOODS = listed(
    "tired nervous angry happy sad hungry sleepy lonely proud anxious bored calm grumpy thirsty jealous worried "
    "excited sick"
)
TRAITS = listed("tall young old friendly clever famous polite quiet rich strong lazy shy brave wise short kind")
# Not happy, young or kind: `so happy to help` is good English.
HINDRANCES = listed("tired hungry sleepy thirsty weak lazy shy stubborn cautious quiet serious bored exhausted")
LONG_TRAITS = listed(
    "careful patient generous ambitious nervous curious cheerful stubborn intelligent talented popular confident "
    "creative sensitive powerful serious helpful cautious"
)
OPINIONS = listed("lovely beautiful ugly strange splendid elegant charming dreadful magnificent nice")
ORIGINS = listed("French Italian Chinese Spanish German Russian Turkish Greek Swedish Indian")
QUALITIES = listed("big small old new heavy cheap expensive dirty broken red blue green yellow black white")
