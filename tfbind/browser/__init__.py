"""See the tracks: a page with a genome browser, a track hub, and the server for both."""
