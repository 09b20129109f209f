"""How good a film with replaced faces is: two films compared, as a record and as a page."""
