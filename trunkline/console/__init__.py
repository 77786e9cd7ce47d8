"""The page that shows Trunkline at work."""
