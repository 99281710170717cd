"""Memory over long gaps: which networks still know at a text's end what stood at its beginning."""
