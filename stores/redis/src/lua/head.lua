-- KEYS[1] is the store's own hash; all other keys begin as it does.
-- KEYS[2] never exists. While a slot is moved to another node, the two are in different places, and
-- the server refuses with TRYAGAIN before anything is done: keys that a script finds on its way could
-- be looked for on the wrong side.
local base = string.sub(KEYS[1], 1, -6)
