"""SageMaker's SDK in local mode, as a user would write it: `local_mode.py IMAGE DIRECTORY PORT PICTURE PICTURE`.

Runs in the clients' environment. Prints what predict answers, as the last line and as JSON.
"""

import base64
import json
import sys
from pathlib import Path

from sagemaker.djl_inference import DJLModel
from sagemaker.local import LocalSession

image, directory, port, *images = sys.argv[1:]
session = LocalSession()
session.config = {"local": {"serving_port": int(port)}}
model = DJLModel(
    image_uri=image,
    model_data=f"file://{directory}",
    role="arn:aws:iam::111122223333:role/any",
    env={"OPTION_LIMIT_MM_PER_PROMPT": '{"image":2}'},
    sagemaker_session=session,
)
predictor = model.deploy(initial_instance_count=1, instance_type="local")
try:
    content = [{"type": "text", "text": "What is in the images?"}]
    for image in images:
        encoded = base64.b64encode(Path(image).read_bytes()).decode()
        content.append({"type": "image_url", "image_url": {"url": f"data:image/png;base64,{encoded}"}})
    answer = predictor.predict({"messages": [{"role": "user", "content": content}]})
finally:
    predictor.delete_endpoint()
print("\n" + json.dumps(answer))
