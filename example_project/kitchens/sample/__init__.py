"""Sample data: kitchens in real places, real dishes, made-up people. The sources stand in ``kitchens/data``."""
