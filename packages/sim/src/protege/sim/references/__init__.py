"""Reference motions: tables of frames, the plans and gaits that they are made from, and the sampling of start frames."""
