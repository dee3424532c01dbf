"""The code beside the pages: their pictures, and the hooks of the site's build."""
