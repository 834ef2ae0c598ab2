from typing import final

@final
class Arrivals: ...
