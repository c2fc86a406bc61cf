-- Answers the store's mark.
return mark()
