"""All the words that the tiny models of the tests know."""

GOOD = ["lovely", "warm", "kind", "bright", "sweet", "happy", "calm", "gentle"]
BAD = ["nasty", "cold", "cruel", "dull", "bitter", "sad", "angry", "rough"]
PLAIN = ["the", "a", "this", "that", "film", "day", "cat", "house", "song", "is", "was", "seems", "and", "very"]
