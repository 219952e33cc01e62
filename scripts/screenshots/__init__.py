"""The README's pictures: a run's pages, as Chromium shows them."""
