"""A fleet of unequal devices fine-tunes one model, each the layers it can afford: CAFF (arXiv 2411.07826) on Flower."""
