from typing import final

@final
class Exchange: ...
