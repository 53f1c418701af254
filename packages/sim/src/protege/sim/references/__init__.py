"""Reference motions: tables of frames, the plans and gaits that they are made of, and where episodes start in them."""
