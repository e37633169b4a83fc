"""Commands that find out what is wrong, and that help to move here from another gateway."""
