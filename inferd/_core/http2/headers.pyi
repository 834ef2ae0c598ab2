from typing import final

@final
class HeaderReader: ...
